"""What tests share: small bundles, a served agent, fakes and faults."""

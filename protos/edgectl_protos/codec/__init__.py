"""Between the domain and its two outer forms: protobuf messages and JSON documents."""

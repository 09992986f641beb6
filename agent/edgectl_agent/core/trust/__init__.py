"""Who may do what here: identity, callers, admitted releases, revocations, the audit log."""

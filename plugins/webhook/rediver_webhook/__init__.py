"""Takes GitHub's webhooks of security alerts for the Rediver agent: signed, on disk before the answer."""

"""Collects GitHub's security alerts for the Rediver agent: code scanning, Dependabot, secret scanning."""

"""The server's fixtures, for every test of this directory."""

from rediver_server_fixtures import clock, database_url, postgresql, schema_file, server, tenant

__all__ = ["clock", "database_url", "postgresql", "schema_file", "server", "tenant"]

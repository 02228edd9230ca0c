"""The database: connections, named queries, arrays, buckets, migrations, partitions, the embedded server.

Knows tables but no concept: what rows mean is the business of the rooms above. All SQL is in `queries/<room>.sql`.
"""

from postback.db.pool import Pool, Tx, connect, is_refusal, is_unavailable, open_pool
from postback.db.queries import Queries

__all__ = ["Pool", "Queries", "Tx", "connect", "is_refusal", "is_unavailable", "open_pool"]

"""When a manifest was used, so that the collector leaves it alone; whether a push may use what could not be deleted.

Revision: core0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "core0007"
down_revision = "core0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("manifests", sa.Column("used_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("condemned", sa.Column("usable", sa.Integer(), nullable=True))

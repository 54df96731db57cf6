"""When a manifest was used: the collector leaves alone what somebody has pushed once more or asked for of late.

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

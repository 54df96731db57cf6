"""Of an upload whose bytes were made durable, but not its rows: under which digest and key they lie.

Revision: core0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "core0006"
down_revision = "core0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("stored_digest", sa.Text(), nullable=True))
    op.add_column("uploads", sa.Column("stored_key", sa.Text(), nullable=True))

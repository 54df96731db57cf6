"""What a deleted manifest named though its repository did not serve it: it gets nothing of that by coming back.

Revision: core0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "core0005"
down_revision = "core0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trash", sa.Column("lacking", sa.Text(), nullable=True))

"""Where documents came from, and digests of vectors; unknown for what is there already."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("documents", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source_path", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("source_folder", sa.Text(), nullable=True))
    with op.batch_alter_table("embeddings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("vector_sha256", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("embeddings", schema=None) as batch_op:
        batch_op.drop_column("vector_sha256")
    with op.batch_alter_table("documents", schema=None) as batch_op:
        batch_op.drop_column("source_folder")
        batch_op.drop_column("source_path")

"""Reader studies: design, plan, what is shown, and what readers say."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = (
    "studies",
    "study_readers",
    "study_cases",
    "study_outputs",
    "study_readings",
    "study_submissions",
    "study_answers",
    "study_deviations",
    "study_outcomes",
)


def upgrade() -> None:
    """Bring the tables to this revision."""
    _make_studies()
    _make_readers()
    _make_cases()
    _make_outputs()
    _make_readings()
    _make_submissions()
    _make_answers()
    _make_deviations()
    _make_outcomes()


def downgrade() -> None:
    """Back to the revision before."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _make_studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("protocol", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("model", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("observers", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("unblinded", sa.Boolean(), nullable=False),
        sa.Column("digests", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.Column("opened", sa.String(length=32), nullable=True),
        sa.Column("locked", sa.String(length=32), nullable=True),
        sa.Column("exported", sa.String(length=32), nullable=True),
        sa.CheckConstraint(
            "state IN ('draft', 'open', 'locked', 'exported')", name=op.f("ck_studies_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("code", name=op.f("uq_studies_code")),
    )
    op.create_index(op.f("ix_studies_owner"), "studies", ["owner"], unique=False)
    op.create_index(op.f("ix_studies_state"), "studies", ["state"], unique=False)


def _make_readers() -> None:
    op.create_table(
        "study_readers",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("specialty", sa.String(length=128), nullable=False),
        sa.Column("experience", sa.String(length=128), nullable=False),
        sa.Column("withdrawn", sa.String(length=32), nullable=True),
        sa.Column("overridden", sa.Integer(), nullable=False),
        sa.Column("excused", sa.Boolean(), nullable=False),
        sa.Column("breaks", sa.Integer(), nullable=False),
        sa.Column("paused", sa.String(length=32), nullable=True),
        sa.Column("sitting", sa.String(length=32), nullable=True),
        sa.Column("sitting_done", sa.Integer(), nullable=False),
        sa.Column("last", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_readers_study_id")
        ),
        sa.PrimaryKeyConstraint("study_id", "reader", name=op.f("pk_study_readers")),
        sa.UniqueConstraint("study_id", "code", name="uq_study_readers_code"),
    )
    op.create_index("ix_study_readers_reader", "study_readers", ["reader"], unique=False)


def _make_cases() -> None:
    op.create_table(
        "study_cases",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_study_cases_case_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_cases_study_id")),
        sa.PrimaryKeyConstraint("study_id", "case_id", name=op.f("pk_study_cases")),
        sa.UniqueConstraint("study_id", "code", name="uq_study_cases_code"),
    )
    op.create_index(op.f("ix_study_cases_case_id"), "study_cases", ["case_id"], unique=False)


def _make_outputs() -> None:
    op.create_table(
        "study_outputs",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.String(length=64), nullable=False),
        sa.Column("arm", sa.String(length=64), nullable=False),
        sa.Column("prediction_id", sa.Integer(), nullable=True),
        sa.Column("explanation_id", sa.Integer(), nullable=True),
        sa.Column("leading", sa.String(length=128), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("weights_digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_study_outputs_case_id")),
        sa.ForeignKeyConstraint(
            ["explanation_id"], ["explanations.id"], name=op.f("fk_study_outputs_explanation_id")
        ),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f("fk_study_outputs_prediction_id")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_outputs_study_id")
        ),
        sa.PrimaryKeyConstraint("study_id", "case_id", "arm", name=op.f("pk_study_outputs")),
    )


def _make_readings() -> None:
    op.create_table(
        "study_readings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.String(length=64), nullable=False),
        sa.Column("arm", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("training", sa.Boolean(), nullable=False),
        sa.Column("served", sa.String(length=32), nullable=True),
        sa.Column("shown", sa.String(length=32), nullable=True),
        sa.Column("submitted", sa.String(length=32), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("draft", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("draft_sequence", sa.Integer(), nullable=False),
        sa.Column("draft_tab", sa.String(length=64), nullable=False),
        sa.Column("draft_saved", sa.String(length=32), nullable=True),
        sa.CheckConstraint("replicate >= 1", name=op.f("ck_study_readings_replicate")),
        sa.CheckConstraint("revision >= 0", name=op.f("ck_study_readings_revision")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_readings_study_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_readings")),
        sa.UniqueConstraint(
            "study_id",
            "reader",
            "case_id",
            "arm",
            "replicate",
            "training",
            name="uq_study_readings_item",
        ),
        sa.UniqueConstraint(
            "study_id", "reader", "session", "position", name="uq_study_readings_place"
        ),
        sa.UniqueConstraint("token", name=op.f("uq_study_readings_token")),
    )


def _make_submissions() -> None:
    op.create_table(
        "study_submissions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("timing", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_study_submissions_revision")),
        sa.ForeignKeyConstraint(
            ["reading_id"], ["study_readings.id"], name=op.f("fk_study_submissions_reading_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_submissions")),
        sa.UniqueConstraint("reading_id", "key", name="uq_study_submissions_key"),
        sa.UniqueConstraint("reading_id", "revision", name="uq_study_submissions_revision"),
    )


def _make_answers() -> None:
    op.create_table(
        "study_answers",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("question", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("marks", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "status = 'answered' OR value IS NULL", name=op.f("ck_study_answers_value")
        ),
        sa.CheckConstraint(
            "status IN ('answered', 'skipped', 'cannot_judge', 'not_applicable')",
            name=op.f("ck_study_answers_status"),
        ),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["study_submissions.id"], name=op.f("fk_study_answers_submission_id")
        ),
        sa.PrimaryKeyConstraint("submission_id", "question", name=op.f("pk_study_answers")),
    )


def _make_deviations() -> None:
    op.create_table(
        "study_deviations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("reader", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_deviations_study_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_deviations")),
    )
    op.create_index(
        op.f("ix_study_deviations_study_id"), "study_deviations", ["study_id"], unique=False
    )


def _make_outcomes() -> None:
    op.create_table(
        "study_outcomes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.String(length=64), nullable=False),
        sa.Column("arm", sa.String(length=64), nullable=False),
        sa.Column("question", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_outcomes_study_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_outcomes")),
    )
    op.create_index(
        op.f("ix_study_outcomes_study_id"), "study_outcomes", ["study_id"], unique=False
    )

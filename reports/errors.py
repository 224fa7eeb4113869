"""What a page could not hold, in words for a clinician."""


class ReportError(Exception):
    """The report cannot be composed or written; the message may be shown as it stands."""

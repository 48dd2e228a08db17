# SPDX-License-Identifier: Apache-2.0
"""A copy of an object under another name: a step whose new object goes elsewhere."""

from s3crypt.errors import ConfigError
from s3crypt.location import Location
from s3crypt.modes import ClientSide

from .looks import Job, look
from .mechanisms import act, annotations_to_copy, check_context
from .steps import Action, decide_copy


def copy(
    job: Job, source: Location, target: Location, *, if_absent: bool
) -> tuple[Action, str | None]:
    """Copy one object; return how, and the copy's version id. See `S3Crypt.copy`."""
    if source == target:
        raise ConfigError(
            f"{source} is both the source and the target of the copy.",
            hint="To bring an object to another mode or key, rotate it.",
        )
    context = {}
    if isinstance(job.to, ClientSide):
        context = job.objects.context_here(job.to, target)
    seen = look(job, source)
    step = decide_copy(seen, job.source, job.to, job.origin, context, target, if_absent=if_absent)
    if seen.envelope is None and isinstance(job.to, ClientSide):
        job.objects.refuse_instruction_file_of(source)
    if seen.envelope is not None and step.action == "copied":
        check_context(job, step, seen.envelope)
    job.locks.check(source, step.head)
    action, version_id, _ = act(job, step, annotations_to_copy(job, step))
    return action, version_id

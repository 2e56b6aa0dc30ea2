"""A plan that a server holds."""

from collections.abc import Iterator
from typing import Any

from outcrop.client.channel import Channel
from outcrop.client.loader import PlannedLoader
from outcrop.client.opened import Opened
from outcrop.client.rpcs import plans
from outcrop.client.rpcs.minibatches import MinibatchFeed
from outcrop.client.rpcs.plans import FoundPlan
from outcrop.errors import InvalidArgument, NotFound
from outcrop.types import DeviceModel, Minibatch, PlanReport


class PlanFace:
    """What a plan is: the same for plans that block and for those that are awaited."""

    _found: FoundPlan

    @property
    def num_shards(self) -> int:
        """Sequences of minibatches, one for each trainer."""
        return len(self._found.shards)

    @property
    def num_epochs(self) -> int:
        """Epochs that were sampled; loaders repeat them in turn."""
        return self._found.num_epochs


class Plan(PlanFace, Opened):
    """A version of a plan."""

    _kind = "plan"

    def check_current(self) -> None:
        """Raise InvalidArgument when the graph or a table has changed since the plan was made, saying which; NotFound
        when another version has taken this one's place."""
        check_current(self._found, self._channel.call(plans.get(self.name)))

    def loader(self, *, shard: int = 0, **options: Any) -> PlannedLoader:
        """Return a loader of one shard, which runs on the server; `planned_loader` tells the options."""
        self._check_open()
        return planned_loader(self._channel, self._found, shard, **options)

    def minibatches(self, shard: int = 0) -> Iterator[Minibatch]:
        """Yield the minibatches of a shard, all epochs of them, without features: who is wanted, and by whom."""
        self._check_open()
        epochs = epochs_of(self._found, shard)
        request = plans.planned(self._found, shard, features=False)
        feed = MinibatchFeed(request, count=epochs[-1] - epochs[0])
        return (received.minibatch for received in self._channel.stream(feed))

    def measured_device(self, seconds: float = 2.0) -> DeviceModel:
        """Measure the server's device on the plan's largest file, for about `seconds`."""
        self._check_open()
        return self._channel.call(plans.measured(self.name, seconds)).device

    def explain(self, device: DeviceModel | None = None) -> PlanReport:
        """Return what the plan holds, what an epoch will cost and what making it did cost, by the model of a device.

        device: by default that of the development machine; `measured_device` gives the server's."""
        self._check_open()
        return self._channel.call(plans.explain(self.name, device or DeviceModel()))


def planned_loader(
    channel: Channel,
    plan: FoundPlan,
    shard: int,
    *,
    memory: int | None = None,
    slots: int = 3,
    threads: int = 1,
    decode: bool = True,
    passes: int | None = None,
    **options: Any,
) -> PlannedLoader:
    """Return a loader of one shard.

    memory: of the server, for cached rows, slots and tables; None takes what is needed. slots: minibatches that the
    server has ready. threads: a server has its own. decode: coded rows come as float32; False leaves their bytes.
    passes: how often the plan is gone through; None has no end. options: `prefetch` and `prefetch_memory` of
    `ServedLoader`. Raises InvalidArgument.
    """
    _check_loading(plan, shard, slots, passes)
    check_threads(threads)
    request = plans.planned(plan, shard, slots=slots, memory=memory, decode=decode)
    return PlannedLoader(channel, request, plan, shard, passes, **options)


def check_current(opened: FoundPlan, now: FoundPlan) -> None:
    """Raise what `Plan.check_current` raises."""
    if (now.id, now.version) != (opened.id, opened.version):
        raise NotFound(f"plan {opened.name!r}: version {opened.version} was replaced; open it again")
    if now.stale:
        raise InvalidArgument(now.stale)


def epochs_of(plan: FoundPlan, shard: int) -> tuple[int, ...]:
    """Return where the epochs of a shard begin, and where the last one ends. Raises InvalidArgument."""
    if not 0 <= shard < len(plan.shards):
        raise InvalidArgument(
            f"plan {plan.name!r} has {len(plan.shards)} shards: expected 0 to {len(plan.shards) - 1}, found {shard}"
        )
    return plan.shards[shard]


def _check_loading(plan: FoundPlan, shard: int, slots: int, passes: int | None) -> None:
    """Raise InvalidArgument for what a loader of the plan cannot do, as the embedded one does."""
    if slots < 2:
        raise InvalidArgument(f"slots: expected at least 2, one in use and one being loaded, found {slots}")
    epochs = epochs_of(plan, shard)
    if passes is not None and passes < 1:
        raise InvalidArgument(f"passes: expected at least 1, or None for no end, found {passes}")
    if epochs[-1] == epochs[0]:
        raise InvalidArgument(f"plan {plan.name!r}: shard {shard} has no minibatches")


def check_threads(threads: int) -> None:
    """Raise InvalidArgument as embedded; a program runs in both places, and a server has its own threads."""
    if threads < 1:
        raise InvalidArgument(f"threads: expected at least 1, found {threads}")

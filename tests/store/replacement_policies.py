"""How many of a list of accesses policies miss that do not look ahead.

They see one key after the other, and a key enters the cache at once; ours serves a whole request from what it held
before, which is the harder rule.
"""

from collections import OrderedDict, deque


def lru_misses(accesses, capacity):
    cache: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for key in accesses:
        if key in cache:
            cache.move_to_end(key)
            continue
        misses += 1
        if len(cache) >= capacity:
            cache.popitem(last=False)
        cache[key] = None
    return misses


def sieve_misses(accesses, capacity):
    """SIEVE (NSDI 2024): a queue, a bit per entry, and a hand that moves from old to new and evicts the unvisited."""
    order: list[int] = []  # oldest first
    visited: dict[int, bool] = {}
    hand = misses = 0
    for key in accesses:
        if key in visited:
            visited[key] = True
            continue
        misses += 1
        if len(order) >= capacity:
            hand %= len(order)
            while visited[order[hand]]:
                visited[order[hand]] = False
                hand = (hand + 1) % len(order)
            del visited[order.pop(hand)]
        order.append(key)
        visited[key] = False
    return misses


def s3_fifo_misses(accesses, capacity):
    """S3-FIFO (SOSP 2023): a small queue of a tenth, a main queue, and a ghost of what left the small one."""
    small_size = max(1, capacity // 10)
    main_size = capacity - small_size
    small: deque[int] = deque()
    main: deque[int] = deque()
    ghost: OrderedDict[int, None] = OrderedDict()
    uses: dict[int, int] = {}
    misses = 0

    def evict_main():
        while True:
            key = main.popleft()
            if uses[key] == 0:
                del uses[key]
                return
            uses[key] -= 1
            main.append(key)

    def evict_small():
        while small:
            key = small.popleft()
            if uses[key] > 1:
                uses[key] = 0
                main.append(key)
                if len(main) > main_size:
                    evict_main()
                    return
            else:
                del uses[key]
                ghost[key] = None
                if len(ghost) > main_size:
                    ghost.popitem(last=False)
                return

    for key in accesses:
        if key in uses:
            uses[key] = min(3, uses[key] + 1)
            continue
        misses += 1
        while len(uses) >= capacity:
            if len(small) >= small_size or not main:
                evict_small()
            else:
                evict_main()
        (main if key in ghost else small).append(key)
        ghost.pop(key, None)
        uses[key] = 0
    return misses

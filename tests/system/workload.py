"""ferry-vm's built-in guest program, read through the guest's memory; tools/vm/workload-core.h has
the layout and the arithmetic."""
import struct
import time

import harness

FACTS, STATES, BASE, PAGE = 0x6000, 0x10000, 0x400000, 4096
MAGIC = 0x314B524F57595246
HOT_COLD, SWEEP, ZIPF, IDLE = 1, 2, 3, 4
MASK = (1 << 64) - 1
WALK = 150000  # writes that check() goes back


def mix(x):
    """SplitMix64's finisher."""
    x = x * 0x9E3779B97F4A7C15 & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


class Workload:
    """The guest of @vm. Holds its memory mapped, so it outlives the process."""

    def __init__(self, vm):
        self.name = vm.name
        self.ram = vm.ram()
        (magic, self.kind, self.vcpus, self.pages, self.hot_pages, self.hot_share,
         self.seed) = struct.unpack_from("<QIIQQQQ", self.ram, FACTS)
        assert magic == MAGIC, f"{vm.name} has no guest program"

    def counters(self):
        """Writes begun by each vCPU."""
        return [struct.unpack_from("<Q", self.ram, STATES + 0x1000 * v)[0]
                for v in range(self.vcpus)]

    def total(self):
        return sum(self.counters())

    def rate(self):
        """Writes per second, over a moment."""
        then, began = self.total(), time.monotonic()
        time.sleep(0.25)
        return (self.total() - then) / (time.monotonic() - began)

    def advances(self):
        """Waits until every vCPU has written some more."""
        then = self.counters()
        harness.until(lambda: all(now > was + 3 for now, was in zip(self.counters(), then)),
                      f"the guest of {self.name} to write on")

    def page_of(self, vcpu, counter):
        if self.kind in (SWEEP, IDLE):
            return (counter - 1 + self.pages * vcpu // self.vcpus) % self.pages
        random = mix((self.seed + (vcpu << 56) + counter) & MASK)
        if self.kind == ZIPF:
            first = 1 << ((random & 0xFFFF) * self.pages.bit_length() >> 16)
            n = min(self.pages - first + 1, first)
            return (first - 1 + ((random >> 32) * n >> 32)) * 4294967311 % self.pages
        if self.kind == HOT_COLD:
            cold = self.pages - self.hot_pages
            within = (random * 0xD6E8FEB86659FD93 & MASK) >> 32
            if random & 0xFFFFFFFF < self.hot_share or cold == 0:
                return within * self.hot_pages >> 32
            return self.hot_pages + (within * cold >> 32)
        return (random >> 32) * self.pages >> 32

    def check(self):
        """Every page holds each vCPU's latest write to it. The guest must not run."""
        for vcpu, counter in enumerate(self.counters()):
            oldest = max(1, counter - WALK)
            latest = {}
            for c in range(counter, oldest - 1, -1):
                latest.setdefault(self.page_of(vcpu, c), c)
            for page in range(self.pages):
                held, = struct.unpack_from("<Q", self.ram, BASE + page * PAGE + 8 * vcpu)
                self.check_page(vcpu, counter, page, held, latest.get(page), oldest)

    def check_page(self, vcpu, counter, page, held, expected, oldest):
        where = f"{self.name}: vCPU {vcpu} at {counter}, page {page}"
        if held >> 56 not in (0, vcpu + 1):
            raise AssertionError(f"{where}: {held:#x} is not its own")
        held &= (1 << 56) - 1
        if expected == held or (expected is None and held < oldest):
            assert held == 0 or self.page_of(vcpu, held) == page, f"{where}: a write of another page"
        elif expected == counter:  # begun and not yet done: the page holds the one before
            assert held < counter and (held == 0 or self.page_of(vcpu, held) == page), where
        else:
            raise AssertionError(f"{where}: holds write {held}, the latest was {expected}")


def whole(vm):
    """The guest of @vm has lost nothing, and goes on."""
    vm.qmp("stop")
    Workload(vm).check()
    vm.qmp("cont")
    Workload(vm).advances()

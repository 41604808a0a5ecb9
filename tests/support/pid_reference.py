"""BOSS's ParticleID, one track and one record after the other: the slow, clear version of `analysis.objects`.

Written from the description of TofPID, TofEPID, TofCorrPID and EmcPID, without numba and without arrays of tracks.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES

MASSES = (0.51099895e-3, 0.1056583755, 0.13957039, 0.493677, 0.93827208816)
SUFFIXES = ("_e", "_mu", "", "_k", "_p")
RAW, READOUT, COUNTER, CLUSTER, BARREL, EAST = (1 << i for i in range(6))
MRPC = 1 << 24
STRIPS = (
    *((0.16, 0.0), (0.051094, 0.019467), (0.056019, 0.012964), (0.043901, 0.015933)),
    *((0.049750, 0.010473), (0.048345, 0.008545), (0.046518, 0.009038), (0.048803, 0.007251)),
    *((0.047523, 0.008434), (0.042187, 0.010307), (0.050337, 0.005951), (0.054740, 0.005629)),
)


def layer(status):
    return (status >> 6) & 3


class Track:
    """One track of a chunk with its records."""

    def __init__(self, columns, index):
        offsets = columns.offsets("Track")
        event = int(np.searchsorted(offsets, index, side="right") - 1)
        self.columns, self.index = columns, index
        start, stop = columns.offsets("Tof")[event : event + 2]
        of_track = columns.flat("Tof", "track")[start:stop] == index - offsets[event]
        self.records = [Record(columns, r) for r in np.flatnonzero(of_track) + start]

    def __getitem__(self, name):
        return float(self.columns.flat("Track", name)[self.index])

    def p(self, suffix):
        return math.sqrt(1 + self[f"tanl{suffix}"] ** 2) / abs(self[f"kappa{suffix}"])


class Record:
    """One record of the TOF."""

    def __init__(self, columns, row):
        self.status, self.counter = (int(columns.flat("Tof", name)[row]) for name in ("status", "counter"))
        self.time, self.sigma = (float(columns.flat("Tof", name)[row]) for name in ("time", "sigma"))
        self.expected, offset = (
            [float(columns.flat("Tof", f"{n}_{h}")[row]) for h in PID_HYPOTHESES] for n in ("texp", "offset")
        )
        self.dt = [self.time - e - o for e, o in zip(self.expected, offset, strict=True)]

    def has(self, bits, *, without=0):
        return self.status & bits == bits and not self.status & without


def combined(first, second, common):
    a, b, c = first**2, second**2, common**2
    return (b - c) / (a + b - 2 * c), math.sqrt(abs((a * b - c * c) / (a + b - 2 * c)))


def sigma_of(record, h, otherwise):
    if record.sigma == 0:
        return otherwise
    return record.sigma * (1.0 if h < 2 else 1.2)


def tof12(track, window=(-4.0, 4.0)):
    """Return chi of the barrel, None without."""
    valid = []
    for number in (1, 2):
        of_layer = [r for r in track.records if r.has(BARREL | COUNTER) and layer(r.status) == number]
        if len(of_layer) == 1 and of_layer[0].time > 0:
            chi = [dt / sigma_of(of_layer[0], h, 0.110) for h, dt in enumerate(of_layer[0].dt)]
            if any(window[0] < x < window[1] for x in chi):
                valid.append((of_layer[0], chi))
    if len(valid) < 2:
        return valid[0][1] if valid else None
    (a, _), (b, _) = valid
    found = []
    for h in range(5):
        share, sigma = combined(sigma_of(a, h, 0.110), sigma_of(b, h, 0.110), 0.041)
        found.append((share * a.dt[h] + (1 - share) * b.dt[h]) / sigma)
    return found


def strip_sigma(record, p):
    a, b = STRIPS[record.counter % 12]
    return a + b / max(p, 0.05)


def tofe(track):
    """Return chi of the record that is the whole measurement, None without."""
    single = [r for r in track.records if r.has(READOUT | COUNTER | CLUSTER, without=RAW)]
    mrpc = [r for r in track.records if r.has(COUNTER | CLUSTER | MRPC, without=RAW | READOUT)]
    if not single + mrpc or (single + mrpc)[-1].time <= 0:
        return None
    record = (single + mrpc)[-1]
    if record.has(MRPC):
        return [dt / strip_sigma(record, track.p("_mdc")) for dt in record.dt]
    return [dt / sigma_of(record, h, 0.12) for h, dt in enumerate(record.dt)]


def polynomial(coefficients, z):
    return sum(c * z**i for i, c in enumerate(coefficients))


class TofCorrReference:
    """TofCorrPID with the parameters of a `TofCorr`."""

    def __init__(self, parameters):
        self.par = parameters

    def offset(self, h, place, p, z, charge):
        """Correction of a time of pi, K or p."""
        sign = 0 if charge > 0 else 1
        if abs(z) > 120:
            return 1000.0
        if h == 4 and p < 0.8:
            row = self.slow_row(p)
            if place == 7:
                return self.par.slow_offset_endcap[sign, row, self.cell(z, 55, 4, 7)]
            return self.par.slow_offset[sign, place, row, self.cell(z, -115, 5, 46)]
        if place in (4, 5, 6):
            return 0.0
        beta_gamma = p / MASSES[h]
        beta = beta_gamma / math.sqrt(1 + beta_gamma**2)
        a0, a1, a2, a3, a4 = self.par.pulse[{0: 0, 1: 0, 2: 1, 3: 1, 7: 2}[place]]
        pulse = a0 * (a1 - beta**a3 - math.log(a2 + beta_gamma**-a4)) / beta**a3
        terms = []
        for c in self.par.walk[int(h == 4), 4 if place == 7 else place, sign]:
            gauss = c[5] * math.exp(-0.5 * ((z - c[6]) / c[7]) ** 2)
            terms.append(polynomial([*c[:5], *c[8:]], z) + gauss)
        return terms[0] + terms[1] / math.sqrt(pulse)

    def sigma(self, h, place, p, z, charge):
        sign = 0 if charge > 0 else 1
        if h == 4 and p < 0.8:
            row = self.slow_row(p)
            found = (
                self.par.slow_sigma_endcap[sign, row, self.cell(z, 55, 4, 7)]
                if place == 7
                else self.par.slow_sigma[sign, place, row, self.cell(z, -115, 5, 46)]
            )
            return 0.3 if found == -999 else found
        c = self.par.sigma[h - 2 if h < 4 else 2 + sign, place]
        if place == 7:
            found = polynomial(c[:4], z)
        elif h == 4:
            found = polynomial(c, z)
        else:
            found = polynomial(c[:10], z) + c[10] / (115 - z) ** 2 + c[11] / (115 + z) ** 2
        if h == 2:
            a, b, middle, width = self.par.pion_scale
            found *= a + b * math.exp(-(p / MASSES[2] - middle) / width)
        return found

    @staticmethod
    def cell(z, first, step, n):
        return min(max(int((z - first) / step), 0), n - 1)

    def slow_row(self, p):
        return self.cell(p, 0.3, 0.5 / 20, 20)

    def counter(self, number, end, z):
        return polynomial(self.par.counter_sigma[number, end], z)

    def chi(self, track, window=(-4.0, 6.0)):
        """Return chi of the five hypotheses, None without a measurement."""
        if any(r.has(RAW) for r in track.records):
            return None
        places = {}
        final = None
        for record in track.records:
            place = self.place(record)
            if place is not None:
                places[place] = record
                if record.has(COUNTER | CLUSTER):
                    final = place
        charge = track["charge"]
        z = (track["ext_z1"], track["ext_z2"])
        found = {}
        for h in range(5):
            p = track.p(SUFFIXES[h])
            for place, record in sorted(places.items()):
                if place == 6 and not {4, 5} <= set(places):
                    continue
                found[h, place] = self.measured(h, place, record, places, found, p, z, track["ext_rho"], charge)
        if final is None and 6 in places:
            good = [
                at in places and any(window[0] < found[h, at][0] / found[h, at][1] < window[1] for h in range(5))
                for at in (4, 5)
            ]
            final = {(True, True): 6, (True, False): 4, (False, True): 5, (False, False): None}[tuple(good)]
        if final is None:
            return None
        chi = [found[h, final][0] / found[h, final][1] for h in range(5)]
        return [x if places[final].expected[h] > 0 else -100.0 for h, x in enumerate(chi)]

    @staticmethod
    def place(record):
        if not record.has(BARREL):
            if record.has(CLUSTER, without=COUNTER | READOUT):
                return 6
            return 7 if record.has(COUNTER | CLUSTER) else None
        number = layer(record.status)
        if record.has(READOUT):
            return 2 * (number - 1) + (0 if record.has(EAST) else 1)
        if record.has(COUNTER):
            return 3 + number
        return 6 if record.has(CLUSTER) else None

    def measured(self, h, place, record, places, found, p, z, rho, charge):
        """Return corrected time and resolution at a place."""
        dt, (own, at) = record.dt[h], self.own_sigma(place, record, places, z, rho)
        if place == 7 and record.has(MRPC):
            return dt, strip_sigma(record, p) * (1.5 if h == 4 else 1.0)
        if h < 2:
            return dt, own
        parts = {4: (0, 1), 5: (2, 3), 6: (4, 5)}.get(place)
        if parts is not None:
            ends = [2, 2] if place == 6 else [0, 1]
            counters = [places[4 + k].counter for k in (0, 1)] if place == 6 else [record.counter] * 2
            where = z if place == 6 else [at] * 2
            widths = [self.counter(c, end, x) for c, end, x in zip(counters, ends, where, strict=True)]
            share, _ = combined(*widths, self.par.common[0])
            dt = share * found[h, parts[0]][0] + (1 - share) * found[h, parts[1]][0]
        return dt - self.offset(h, place, p, at, charge), self.sigma(h, place, p, at, charge)

    def own_sigma(self, place, record, places, z, rho):
        """Return the resolution of electrons and muons, and where the track passes in cm."""
        if place == 7:
            return None if record.has(MRPC) else polynomial(self.par.endcap_sigma[record.counter], rho), rho
        if place == 6:
            widths = (self.counter(places[4 + k].counter, 2, z[k]) for k in (0, 1))
            return combined(*widths, self.par.common[0])[1], z[0]
        at = z[place // 2 if place < 4 else place - 4]
        return self.counter(record.counter, place % 2 if place < 4 else 2, at), at


def network_output(content, inputs):
    """Return what a perceptron makes of the inputs of one track, its file's content given."""
    x = [(value - m) / s for value, m, s in zip(inputs, content["shift"], content["scale"], strict=True)]
    hidden = [
        1 / (1 + math.exp(-(bias + sum(w * value for w, value in zip(weights, x, strict=True)))))
        for bias, weights in zip(content["hidden_bias"], content["hidden_weights"], strict=True)
    ]
    return content["output_bias"][0] + sum(w * y for w, y in zip(content["output_weights"], hidden, strict=True))


def density_chi(content, kind, p, found, *, own_bin):
    """Return chi of an output; -99 where the density has nothing below or above."""
    (p_first, p_width), (first, width) = content["p_edges"], content["output_edges"]
    density = content["density"][kind]
    row = min(max(int((p - p_first) / p_width), 0), len(density) - 1)
    last = int((found - first) / width) + own_bin
    total = np.float32(0)
    for value in density[row][:last]:
        total = np.float32(float(total) + value * (1.0 if own_bin else width))
    share = float(np.float32(float(total) * (width if own_bin else 1.0)))
    return float(ndtri(share)) if 0 < share < 1 else -99.0

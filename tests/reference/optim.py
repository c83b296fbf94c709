"""Oracles of rules and of what changes gradients before them: float64 NumPy, each formula as its paper or Flux.jl has
it."""

import numpy as np


def sign_of_velocity(rule, p, g, s, t):
    """Nesterov as Flux.jl writes it, its velocity with the other sign."""
    v = s.get("v", 0)
    s["v"] = rule.rho * v - rule.eta * g
    return p - (-(rule.rho**2) * v + (1 + rule.rho) * rule.eta * g)


def descent(rule, p, g, s, t):
    return p - rule.eta * g


def momentum(rule, p, g, s, t):
    s["v"] = rule.rho * s.get("v", 0) + rule.eta * g  # Flux.jl: eta inside the velocity
    return p - s["v"]


def rmsprop(rule, p, g, s, t):
    s["q"] = rule.rho * s.get("q", 0) + (1 - rule.rho) * g**2
    s["l"] = rule.rho * s.get("l", 0) + (1 - rule.rho) * g
    under = s["q"] - s["l"] ** 2 if rule.centred else s["q"]
    return p - rule.eta * g / (np.sqrt(np.maximum(under, 0)) + rule.eps)


def rprop(rule, p, g, s, t):
    """One element at a time."""
    last, size = s.setdefault("last", np.zeros(p.shape)), s.setdefault("size", np.full(p.shape, float(rule.eta)))
    out = p.copy()
    for i in np.ndindex(p.shape):
        turned = last[i] * g[i] < 0
        if last[i] * g[i] > 0:
            size[i] = min(size[i] * rule.ell[1], rule.gamma[1])
        elif turned:
            size[i] = max(size[i] * rule.ell[0], rule.gamma[0])
        last[i] = 0 if turned else g[i]
        out[i] -= size[i] * np.sign(last[i])
    return out


def moments(rule, g, s):
    """The running means of g and of its square."""
    b1, b2 = rule.beta
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    return s["m"], s["v"]


def adam(rule, p, g, s, t):
    b1, b2 = rule.beta
    m, v = moments(rule, g, s)
    decay = getattr(rule, "decay", 0) * (rule.eta if getattr(rule, "couple", True) else 1)
    return p - decay * p - rule.eta * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + rule.eps)


def radam(rule, p, g, s, t):
    b1, b2 = rule.beta
    m, v = moments(rule, g, s)
    most = 2 / (1 - b2) - 1
    length = most - 2 * t * b2**t / (1 - b2**t)
    if length <= 4:
        return p - rule.eta * m / (1 - b1**t)
    r = np.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
    return p - rule.eta * r * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + rule.eps)


def nadam(rule, p, g, s, t):
    b1, b2 = rule.beta
    m, v = moments(rule, g, s)
    mean = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return p - rule.eta * mean / (np.sqrt(v * b2 / (1 - b2**t)) + rule.eps)


def adabelief(rule, p, g, s, t):
    b1, b2 = rule.beta
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["s"] = b2 * s.get("s", 0) + (1 - b2) * (g - s["m"]) ** 2 + rule.eps
    return p - rule.eta * (s["m"] / (1 - b1**t)) / (np.sqrt(s["s"] / (1 - b2**t)) + rule.eps)


def adamax(rule, p, g, s, t):
    b1, b2 = rule.beta
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["u"] = np.maximum(b2 * s.get("u", 0), np.abs(g))
    return p - rule.eta / (1 - b1**t) * s["m"] / (s["u"] + rule.eps)


def amsgrad(rule, p, g, s, t):
    for name in ("m", "v", "most"):
        s.setdefault(name, np.full(p.shape, float(rule.eps)))
    m, v = moments(rule, g, s)
    s["most"] = np.maximum(s["most"], v)
    return p - rule.eta * m / (np.sqrt(s["most"]) + rule.eps)


def oadam(rule, p, g, s, t):
    b1, b2 = rule.beta
    m, v = moments(rule, g, s)
    before = s.get("term", 0)
    s["term"] = rule.eta * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + rule.eps)
    return p - (2 * s["term"] - before)


def adagrad(rule, p, g, s, t):
    s["acc"] = s.get("acc", rule.eps) + g**2
    return p - rule.eta * g / (np.sqrt(s["acc"]) + rule.eps)


def adadelta(rule, p, g, s, t):
    s["acc"] = rule.rho * s.get("acc", 0) + (1 - rule.rho) * g**2
    d = g * np.sqrt(s.get("delta", 0) + rule.eps) / np.sqrt(s["acc"] + rule.eps)
    s["delta"] = rule.rho * s.get("delta", 0) + (1 - rule.rho) * d**2
    return p - d


def lion(rule, p, g, s, t):
    b1, b2 = rule.beta
    m = s.get("m", 0)
    s["m"] = b2 * m + (1 - b2) * g
    return p - rule.eta * (np.sign(b1 * m + (1 - b1) * g) + rule.decay * p)


def lamb(rule, p, g, s, t):
    b1, b2 = rule.beta
    m, v = moments(rule, g, s)
    r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + rule.eps) + rule.decay * p
    long, short = np.sqrt((p**2).sum()), np.sqrt((r**2).sum())
    return p - rule.eta * (long / short if long > 0 and short > 0 else 1) * r


def muon(rule, p, g, s, t):
    if p.ndim < 2:
        b1, b2 = rule.beta
        m, v = moments(rule, g, s)
        step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + rule.eps)
        return p - rule.adam_eta * (step + rule.decay * p)
    s["m"] = rule.rho * s.get("m", 0) + (1 - rule.rho) * g
    x = (rule.rho * s["m"] + (1 - rule.rho) * g).reshape(-1, p.shape[-1])
    norm = np.sqrt((x**2).sum())
    left, sizes, right = np.linalg.svd(x / norm if norm > 0 else x, full_matrices=False)
    for _ in range(5):  # the iteration is one polynomial of each singular value
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    scale = np.sqrt(max(1, x.shape[1] / x.shape[0]))
    return p - rule.eta * (scale * (left * sizes @ right).reshape(p.shape) + rule.decay * p)


RULES = {
    "Descent": descent, "Momentum": momentum, "Nesterov": sign_of_velocity, "RMSProp": rmsprop, "Rprop": rprop,
    "Adam": adam, "AdamW": adam, "RAdam": radam, "NAdam": nadam, "AdaBelief": adabelief, "AdaMax": adamax,
    "AMSGrad": amsgrad, "OAdam": oadam, "AdaGrad": adagrad, "AdaDelta": adadelta, "Lion": lion,
    "LAMB": lamb, "Muon": muon,
}  # fmt: skip


def shorter(g, norm, omega):
    return g * min(1, omega / norm) if norm > 0 else g


def global_norm(member, ps, gs):
    total = np.sqrt(sum((g**2).sum() for g in gs.values()))
    return {k: shorter(g, total, member.omega) for k, g in gs.items()}


TRANSFORMS = {
    "WeightDecay": lambda member, ps, gs: {k: g + member.decay * ps[k] for k, g in gs.items()},
    "SignDecay": lambda member, ps, gs: {k: g + member.decay * np.sign(ps[k]) for k, g in gs.items()},
    "ClipGrad": lambda member, ps, gs: {k: np.clip(g, -member.delta, member.delta) for k, g in gs.items()},
    "ClipNorm": lambda member, ps, gs: {
        k: shorter(g, (np.abs(g) ** member.p).sum() ** (1 / member.p), member.omega) for k, g in gs.items()
    },
    "ClipGlobalNorm": global_norm,
}


BFLOAT16 = 2.0**-7  # between 1 and the next number


def rounded(x, dtype):
    """To the nearest number of the format, ties to even, kept from infinity."""
    if dtype == "float16":
        return np.clip(x, -65504, 65504).astype(np.float16).astype(np.float64)
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(x), 1e-300))), -126)
    return np.round(x / (BFLOAT16 * 2.0**exponent)) * BFLOAT16 * 2.0**exponent


class Oracle:
    """Parameters by name, changed step by step as a rule, a chain, or a rule around one of them says."""

    def __init__(self, rule, params):
        self.params = {k: np.array(p, np.float64) for k, p in params.items()}
        self.full = dict(self.params)
        self.gathered, self.states, self.means = {}, {k: {} for k in params}, {k: 0 for k in params}
        self.step = 0
        self.rule = rule

    def update(self, grads):
        gs = {k: np.array(g, np.float64) for k, g in grads.items()}
        members = list(self.rule.members)
        after = [members.pop() for m in members[::-1] if type(m).__name__ in ("Average", "Rounded")][::-1]
        *before, rule = members
        for i, member in enumerate(before):
            if type(member).__name__ == "AccumGrad":
                seen = self.gathered.setdefault(i, [])
                seen.append(gs)
                if len(seen) < member.n:
                    return
                gs = {k: np.mean([one[k] for one in seen], axis=0) for k in gs}
                seen.clear()
            else:
                gs = TRANSFORMS[type(member).__name__](member, self.params, gs)
        self.step += 1
        for k, p in self.params.items():
            rest = self.full[k] - p
            self.params[k] = RULES[type(rule).__name__](rule, p, gs[k], self.states[k], self.step)
            self.full[k] = self.params[k] + rest
            for member in after:
                if type(member).__name__ == "Rounded":
                    self.params[k] = rounded(self.full[k], member.dtype)
                else:
                    self.means[k] = member.decay * self.means[k] + (1 - member.decay) * self.params[k]

    def averages(self):
        """What nf.ema shows."""
        decay = next(m.decay for m in self.rule.members if type(m).__name__ == "Average")
        return {k: mean / (1 - decay**self.step) for k, mean in self.means.items()}

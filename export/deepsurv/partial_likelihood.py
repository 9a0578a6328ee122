"""Cox's partial likelihood of every member of an ensemble, for gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class WeightedRiskSets:
    """Who is at risk with whom, by member; cases by falling time, so that a running sum is a risk set.

    Attributes
    ----------
    case_weights : tensor of float64, (member, case)
    event_weights : tensor of float64, (member, case)
        Case weights of the events, 0 of all others.
    tied_weights : tensor of float64, (member, case)
        Of every event the mean weight of those at its time: what each Efron term counts.
    last : tensor of int64, (case,)
        Of each case the last one with its time, where its risk set is complete.
    before : tensor of int64, (case,)
        The last one with a later time; -1 for none.
    share : tensor of float64, (member, case)
        How much of its tied events' risk has left: l / d for the l-th of d.
    tied : bool
        Whether any two events of a member share a time.
    """

    case_weights: torch.Tensor
    event_weights: torch.Tensor
    tied_weights: torch.Tensor
    last: torch.Tensor
    before: torch.Tensor
    share: torch.Tensor
    tied: bool


def weighted_risk_sets(
    months: torch.Tensor, events: torch.Tensor, case_weights: torch.Tensor
) -> WeightedRiskSets:
    """Build the risk sets of cases that are sorted by falling time.

    Parameters
    ----------
    months : tensor of float64, (case,)
        Falling.
    events : tensor of float64, (case,)
        1 or 0.
    case_weights : tensor of float64, (member, case)
        0 leaves a case out.

    References
    ----------
    Efron 1977, J Am Stat Assoc 72:557; for weights Therneau and Grambsch 2000, Modeling Survival Data, 3.3.
    """
    rising = -months.contiguous()
    last = torch.searchsorted(rising, rising, right=True) - 1
    before = torch.searchsorted(rising, rising) - 1
    event_weights = case_weights * events
    counted = (event_weights > 0).double()
    tied_events = _within(counted.cumsum(dim=1), last, before)
    ordinal = counted.cumsum(dim=1) - _up_to(counted.cumsum(dim=1), before)
    divisor = tied_events.clamp(min=1)
    mean_weight = _within(event_weights.cumsum(dim=1), last, before) / divisor
    return WeightedRiskSets(
        case_weights=case_weights,
        event_weights=event_weights,
        tied_weights=counted * mean_weight,
        last=last,
        before=before,
        share=counted * (ordinal - 1) / divisor,
        tied=bool((tied_events * counted).max() > 1),
    )


def log_partial_likelihood(log_risk: torch.Tensor, sets: WeightedRiskSets) -> torch.Tensor:
    """Weighted log partial likelihood of each member (member,), ties by Efron.

    Parameters
    ----------
    log_risk : tensor, (member, case)
        By falling time; any type, summed in double precision.
    """
    log_risk = log_risk.double()
    # Log-sum-exp with one shift for all risk sets: in doubles, 700 units of log-risk are in range.
    largest = log_risk.detach().amax(dim=1, keepdim=True)
    relative = sets.case_weights * (log_risk - largest).exp()
    at_risk = relative.cumsum(dim=1)[:, sets.last]
    if sets.tied:
        event_risk = (relative * (sets.event_weights > 0)).cumsum(dim=1)
        at_risk = at_risk - sets.share * _within(event_risk, sets.last, sets.before)
    counted = sets.tied_weights > 0
    logarithm = at_risk.where(counted, torch.ones_like(at_risk)).clamp(min=1e-300).log()
    return (sets.event_weights * (log_risk - largest) - sets.tied_weights * logarithm).sum(dim=1)


def _within(running: torch.Tensor, last: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Sum over the cases of the same time, of a running sum (member, case)."""
    return running[:, last] - _up_to(running, before)


def _up_to(running: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Read a running sum (member, case) at an index; 0 before the first."""
    return running[:, index.clamp(min=0)] * (index >= 0)

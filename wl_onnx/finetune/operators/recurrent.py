"""RNN, GRU and LSTM over time, step by step, in either direction or both."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch

from wl_onnx.finetune.operators.arguments import give
from wl_onnx.finetune.operators.recurrent_activation import (
    Activation,
    check_activations,
    form_activations,
)
from wl_onnx.finetune.registry import operator

__all__: list[str] = []

State = tuple[torch.Tensor, ...]
Step = Callable[[torch.Tensor, State], State]
"""From a step's input, already multiplied by its weights, and the state, `[batch, hidden]` each."""


def _step_rnn(
    given: torch.Tensor, state: State, *, recurrence: torch.Tensor, act: Sequence[Activation]
) -> State:
    return (act[0](given + state[0] @ recurrence.t()),)


def _step_gru(
    given: torch.Tensor,
    state: State,
    *,
    recurrence: torch.Tensor,
    bias: torch.Tensor,
    act: Sequence[Activation],
    linear_before_reset: bool,
) -> State:
    """`bias` is the recurrence's of the hidden gate; those of the others are in what is given."""
    (hidden,) = state
    size = hidden.shape[1]
    gates, candidate = recurrence[: 2 * size], recurrence[2 * size :]
    update, reset = (given[:, : 2 * size] + hidden @ gates.t()).chunk(2, 1)
    update, reset = act[0](update), act[0](reset)
    if linear_before_reset:
        recalled = reset * (hidden @ candidate.t() + bias)
    else:
        recalled = (reset * hidden) @ candidate.t() + bias
    fresh = act[1](given[:, 2 * size :] + recalled)
    return ((1 - update) * fresh + update * hidden,)


def _step_lstm(
    given: torch.Tensor,
    state: State,
    *,
    recurrence: torch.Tensor,
    peepholes: Sequence[torch.Tensor] | None,
    act: Sequence[Activation],
    input_forget: bool,
) -> State:
    hidden, cell = state
    i, o, f, c = (given + hidden @ recurrence.t()).chunk(4, 1)
    if peepholes is not None:
        i, f = i + peepholes[0] * cell, f + peepholes[2] * cell
    i = act[0](i)
    f = 1 - i if input_forget else act[0](f)
    cell = f * cell + i * act[1](c)
    if peepholes is not None:
        o = o + peepholes[1] * cell
    return act[0](o) * act[2](cell), cell


def _run(
    step: Step, given: torch.Tensor, state: State, lengths: torch.Tensor | None, *, backward: bool
) -> tuple[torch.Tensor, State]:
    """One direction: hidden states of all times, and the last state of each sequence.

    Going backward, a sequence begins at its own last element. Behind its end, outputs are zero.
    """
    times = range(given.shape[0])
    outputs: list[torch.Tensor] = []
    for time in reversed(times) if backward else times:
        following = step(given[time], state)
        if lengths is None:
            state = following
            outputs.append(state[0])
            continue
        is_inside = (lengths > time).unsqueeze(1)
        state = tuple(
            torch.where(is_inside, new, old) for new, old in zip(following, state, strict=True)
        )
        outputs.append(torch.where(is_inside, state[0], torch.zeros_like(state[0])))
    stacked = torch.stack(outputs[::-1] if backward else outputs)
    return stacked, state


def _run_all(
    x: torch.Tensor,
    lengths: torch.Tensor | None,
    initial: Sequence[torch.Tensor | None],
    hidden_size: int,
    direction: str,
    layout: int,
    prepare: Callable[[int], tuple[torch.Tensor, torch.Tensor, Step]],
) -> tuple[torch.Tensor, ...]:
    """All directions; gives the hidden states of all times and the last states, as the node does.

    Args:
        x: the input, in the node's layout.
        lengths: of each sequence, or None.
        initial: states before the first step, zeros for None, in the node's layout.
        hidden_size: elements of a state.
        direction: forward, reverse or bidirectional.
        layout: 1 where the batch comes first.
        prepare: gives input weights, bias and step of a direction by its number.
    """
    x = x.transpose(0, 1) if layout else x
    num_directions = 2 if direction == "bidirectional" else 1
    hidden: list[torch.Tensor] = []
    last: list[State] = []
    for number in range(num_directions):
        state: State = tuple(
            x.new_zeros(x.shape[1], hidden_size)
            if one is None
            else (one[:, number] if layout else one[number])
            for one in initial
        )
        weight, bias, step = prepare(number)
        given = torch.matmul(x, weight.t()) + bias
        backward = direction == "reverse" or number == 1
        outputs, state = _run(step, given, state, lengths, backward=backward)
        hidden.append(outputs)
        last.append(state)
    states = [torch.stack(one, 1 if layout else 0) for one in zip(*last, strict=True)]
    y = torch.stack(hidden, 1)
    return (y.permute(2, 0, 1, 3) if layout else y, *states)


@operator("RNN", since=(7, 14, 22), fixed=(4,), check=check_activations)
def _rnn(
    x: torch.Tensor,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    initial: torch.Tensor | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    act = form_activations(activations, ("Tanh",), activation_alpha, activation_beta, clip)
    size = recurrence.shape[2]

    def prepare(number: int) -> tuple[torch.Tensor, torch.Tensor, Step]:
        summed = x.new_zeros(1) if bias is None else bias[number].reshape(2, -1).sum(0)
        step = functools.partial(_step_rnn, recurrence=recurrence[number], act=act[number])
        return weight[number], summed, step

    return give(_run_all(x, lengths, [initial], size, direction, layout, prepare), output_count)


@operator("GRU", since=(7, 14, 22), fixed=(4,), check=check_activations)
def _gru(
    x: torch.Tensor,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    initial: torch.Tensor | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    act = form_activations(
        activations, ("Sigmoid", "Tanh"), activation_alpha, activation_beta, clip
    )
    size = recurrence.shape[2]

    def prepare(number: int) -> tuple[torch.Tensor, torch.Tensor, Step]:
        own = x.new_zeros(6 * size) if bias is None else bias[number]
        of_input, of_state = own.chunk(2)
        added = torch.cat([of_input[: 2 * size] + of_state[: 2 * size], of_input[2 * size :]])
        step = functools.partial(
            _step_gru,
            recurrence=recurrence[number],
            bias=of_state[2 * size :],
            act=act[number],
            linear_before_reset=bool(linear_before_reset),
        )
        return weight[number], added, step

    return give(_run_all(x, lengths, [initial], size, direction, layout, prepare), output_count)


@operator("LSTM", since=(7, 14, 22), fixed=(4,), check=check_activations)
def _lstm(
    x: torch.Tensor,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    initial: torch.Tensor | None = None,
    initial_cell: torch.Tensor | None = None,
    peepholes: torch.Tensor | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    act = form_activations(
        activations, ("Sigmoid", "Tanh", "Tanh"), activation_alpha, activation_beta, clip
    )
    size = recurrence.shape[2]

    def prepare(number: int) -> tuple[torch.Tensor, torch.Tensor, Step]:
        summed = x.new_zeros(1) if bias is None else bias[number].reshape(2, -1).sum(0)
        step = functools.partial(
            _step_lstm,
            recurrence=recurrence[number],
            peepholes=None if peepholes is None else peepholes[number].chunk(3),
            act=act[number],
            input_forget=bool(input_forget),
        )
        return weight[number], summed, step

    states = [initial, initial_cell]
    return give(_run_all(x, lengths, states, size, direction, layout, prepare), output_count)

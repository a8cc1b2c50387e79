"""The rules as Triton kernels. Printed by `python -m adana.optim.kernels.generate`; do not edit.

Each program updates some blocks of one tensor. ``owner[program]`` is the program's tensor; a tensor's line in
``table`` holds the address of each of its arrays, its number of elements, its first program and its row in
``numbers``, which holds what is the same for all elements, as float64, number by number, the step at last.
``places`` is what only rounding looks into (see triton_formats.py). ``EVEN`` says of all tensors that their first
elements have numbers that are multiples of a block's length, and so have their rows where codes are kept.
"""

# ruff: noqa
# fmt: off
# mypy: ignore-errors

import triton
import triton.language as tl

from adana.optim.kernels.triton_formats import (
    FIRST_SCALE, blocks_of, compensation_of, elements, length_of, load, load_magnitude, load_parameter, load_signed,
    random_key, random_words, scales_of, store_magnitude, store_parameter, store_signed,
)
from adana.optim.kernels.triton_math import power, quotient, root, sign


WORDS = (16, 64)

@triton.jit(do_not_specialize=[f"w{k}" for k in range(16)])
def write_few(at, w0: tl.int64, w1: tl.int64, w2: tl.int64, w3: tl.int64, w4: tl.int64, w5: tl.int64, w6: tl.int64, w7: tl.int64, w8: tl.int64, w9: tl.int64, w10: tl.int64, w11: tl.int64, w12: tl.int64, w13: tl.int64, w14: tl.int64, w15: tl.int64):
    """Set words of a table from a launch's arguments: no copy from the host, which a captured graph may find gone."""
    tl.store(at + 0, w0)
    tl.store(at + 1, w1)
    tl.store(at + 2, w2)
    tl.store(at + 3, w3)
    tl.store(at + 4, w4)
    tl.store(at + 5, w5)
    tl.store(at + 6, w6)
    tl.store(at + 7, w7)
    tl.store(at + 8, w8)
    tl.store(at + 9, w9)
    tl.store(at + 10, w10)
    tl.store(at + 11, w11)
    tl.store(at + 12, w12)
    tl.store(at + 13, w13)
    tl.store(at + 14, w14)
    tl.store(at + 15, w15)

@triton.jit(do_not_specialize=[f"w{k}" for k in range(64)])
def write_many(at, w0: tl.int64, w1: tl.int64, w2: tl.int64, w3: tl.int64, w4: tl.int64, w5: tl.int64, w6: tl.int64, w7: tl.int64, w8: tl.int64, w9: tl.int64, w10: tl.int64, w11: tl.int64, w12: tl.int64, w13: tl.int64, w14: tl.int64, w15: tl.int64, w16: tl.int64, w17: tl.int64, w18: tl.int64, w19: tl.int64, w20: tl.int64, w21: tl.int64, w22: tl.int64, w23: tl.int64, w24: tl.int64, w25: tl.int64, w26: tl.int64, w27: tl.int64, w28: tl.int64, w29: tl.int64, w30: tl.int64, w31: tl.int64, w32: tl.int64, w33: tl.int64, w34: tl.int64, w35: tl.int64, w36: tl.int64, w37: tl.int64, w38: tl.int64, w39: tl.int64, w40: tl.int64, w41: tl.int64, w42: tl.int64, w43: tl.int64, w44: tl.int64, w45: tl.int64, w46: tl.int64, w47: tl.int64, w48: tl.int64, w49: tl.int64, w50: tl.int64, w51: tl.int64, w52: tl.int64, w53: tl.int64, w54: tl.int64, w55: tl.int64, w56: tl.int64, w57: tl.int64, w58: tl.int64, w59: tl.int64, w60: tl.int64, w61: tl.int64, w62: tl.int64, w63: tl.int64):
    """Set words of a table from a launch's arguments: no copy from the host, which a captured graph may find gone."""
    tl.store(at + 0, w0)
    tl.store(at + 1, w1)
    tl.store(at + 2, w2)
    tl.store(at + 3, w3)
    tl.store(at + 4, w4)
    tl.store(at + 5, w5)
    tl.store(at + 6, w6)
    tl.store(at + 7, w7)
    tl.store(at + 8, w8)
    tl.store(at + 9, w9)
    tl.store(at + 10, w10)
    tl.store(at + 11, w11)
    tl.store(at + 12, w12)
    tl.store(at + 13, w13)
    tl.store(at + 14, w14)
    tl.store(at + 15, w15)
    tl.store(at + 16, w16)
    tl.store(at + 17, w17)
    tl.store(at + 18, w18)
    tl.store(at + 19, w19)
    tl.store(at + 20, w20)
    tl.store(at + 21, w21)
    tl.store(at + 22, w22)
    tl.store(at + 23, w23)
    tl.store(at + 24, w24)
    tl.store(at + 25, w25)
    tl.store(at + 26, w26)
    tl.store(at + 27, w27)
    tl.store(at + 28, w28)
    tl.store(at + 29, w29)
    tl.store(at + 30, w30)
    tl.store(at + 31, w31)
    tl.store(at + 32, w32)
    tl.store(at + 33, w33)
    tl.store(at + 34, w34)
    tl.store(at + 35, w35)
    tl.store(at + 36, w36)
    tl.store(at + 37, w37)
    tl.store(at + 38, w38)
    tl.store(at + 39, w39)
    tl.store(at + 40, w40)
    tl.store(at + 41, w41)
    tl.store(at + 42, w42)
    tl.store(at + 43, w43)
    tl.store(at + 44, w44)
    tl.store(at + 45, w45)
    tl.store(at + 46, w46)
    tl.store(at + 47, w47)
    tl.store(at + 48, w48)
    tl.store(at + 49, w49)
    tl.store(at + 50, w50)
    tl.store(at + 51, w51)
    tl.store(at + 52, w52)
    tl.store(at + 53, w53)
    tl.store(at + 54, w54)
    tl.store(at + 55, w55)
    tl.store(at + 56, w56)
    tl.store(at + 57, w57)
    tl.store(at + 58, w58)
    tl.store(at + 59, w59)
    tl.store(at + 60, w60)
    tl.store(at + 61, w61)
    tl.store(at + 62, w62)
    tl.store(at + 63, w63)

@triton.jit
def adana(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 7 * tensor
    place = places + (FIRST_SCALE + 2) * tensor
    size = tl.load(line + 4)
    first = (program - tl.load(line + 5)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 6)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    eps = tl.load(row + 1 * rows).to(real)
    gradient = tl.load(row + 2 * rows).to(real)
    largest = tl.load(row + 3 * rows).to(real)
    momentum = tl.load(row + 4 * rows).to(real)
    weight = tl.load(row + 5 * rows).to(real)
    weight_sq = tl.load(row + 6 * rows).to(real)
    lr = tl.load(row + 7 * rows).to(real)
    decay = tl.load(row + 8 * rows).to(real)
    number_9 = tl.load(row + 9 * rows).to(real)  # 0.0 - largest
    number_10 = tl.load(row + 10 * rows).to(real)  # 1.0 - weight
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - weight_sq
    step = tl.load(row + 12 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_9, number_9, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_10 * exp_avg + weight * x4
        exp_avg_sq_new = number_11 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        p_new = p - lr * quotient(gradient * x4 + momentum * exp_avg_new, x7 + eps) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def adana_corrected(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 7 * tensor
    place = places + (FIRST_SCALE + 2) * tensor
    size = tl.load(line + 4)
    first = (program - tl.load(line + 5)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 6)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    correction_sq = tl.load(row + 1 * rows).to(real)
    eps = tl.load(row + 2 * rows).to(real)
    gradient = tl.load(row + 3 * rows).to(real)
    largest = tl.load(row + 4 * rows).to(real)
    momentum = tl.load(row + 5 * rows).to(real)
    weight = tl.load(row + 6 * rows).to(real)
    weight_sq = tl.load(row + 7 * rows).to(real)
    lr = tl.load(row + 8 * rows).to(real)
    decay = tl.load(row + 9 * rows).to(real)
    number_10 = tl.load(row + 10 * rows).to(real)  # 0.0 - largest
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - weight
    number_12 = tl.load(row + 12 * rows).to(real)  # 1.0 - weight_sq
    step = tl.load(row + 13 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_10, number_10, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_11 * exp_avg + weight * x4
        exp_avg_sq_new = number_12 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(quotient(exp_avg_sq_new, correction_sq))
        p_new = p - lr * quotient(gradient * x4 + momentum * exp_avg_new, x7 + eps) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def adana_short(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, exp_avg_short_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 8 * tensor
    place = places + (FIRST_SCALE + 3) * tensor
    size = tl.load(line + 5)
    first = (program - tl.load(line + 6)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 7)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    exp_avg_short_at = tl.load(line + 4).to(tl.pointer_type(exp_avg_short_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
        exp_avg_short_at = tl.multiple_of(exp_avg_short_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    exp_avg_short_scales = scales_of(place, 2, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    correction_short = tl.load(row + 1 * rows).to(real)
    eps = tl.load(row + 2 * rows).to(real)
    gradient = tl.load(row + 3 * rows).to(real)
    largest = tl.load(row + 4 * rows).to(real)
    momentum = tl.load(row + 5 * rows).to(real)
    weight = tl.load(row + 6 * rows).to(real)
    weight_short = tl.load(row + 7 * rows).to(real)
    weight_sq = tl.load(row + 8 * rows).to(real)
    lr = tl.load(row + 9 * rows).to(real)
    decay = tl.load(row + 10 * rows).to(real)
    number_11 = tl.load(row + 11 * rows).to(real)  # 0.0 - largest
    number_12 = tl.load(row + 12 * rows).to(real)  # 1.0 - weight
    number_13 = tl.load(row + 13 * rows).to(real)  # 1.0 - weight_sq
    number_14 = tl.load(row + 14 * rows).to(real)  # 1.0 - weight_short
    step = tl.load(row + 15 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        exp_avg_short = load_signed(exp_avg_short_at, exp_avg_short_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_11, number_11, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_12 * exp_avg + weight * x4
        exp_avg_sq_new = number_13 * exp_avg_sq + weight_sq * (x4 * x4)
        exp_avg_short_new = number_14 * exp_avg_short + weight_short * x4
        x8 = root(exp_avg_sq_new)
        p_new = p - lr * quotient(gradient * quotient(exp_avg_short_new, correction_short) + momentum * exp_avg_new, x8 + eps) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)
        store_signed(exp_avg_short_at, exp_avg_short_scales, start, at, inside, codes, present, exp_avg_short_new, exp_avg_sq_kept, words_1, 16, rounded)

@triton.jit
def adana_short_corrected(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, exp_avg_short_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 8 * tensor
    place = places + (FIRST_SCALE + 3) * tensor
    size = tl.load(line + 5)
    first = (program - tl.load(line + 6)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 7)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    exp_avg_short_at = tl.load(line + 4).to(tl.pointer_type(exp_avg_short_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
        exp_avg_short_at = tl.multiple_of(exp_avg_short_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    exp_avg_short_scales = scales_of(place, 2, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    correction_short = tl.load(row + 1 * rows).to(real)
    correction_sq = tl.load(row + 2 * rows).to(real)
    eps = tl.load(row + 3 * rows).to(real)
    gradient = tl.load(row + 4 * rows).to(real)
    largest = tl.load(row + 5 * rows).to(real)
    momentum = tl.load(row + 6 * rows).to(real)
    weight = tl.load(row + 7 * rows).to(real)
    weight_short = tl.load(row + 8 * rows).to(real)
    weight_sq = tl.load(row + 9 * rows).to(real)
    lr = tl.load(row + 10 * rows).to(real)
    decay = tl.load(row + 11 * rows).to(real)
    number_12 = tl.load(row + 12 * rows).to(real)  # 0.0 - largest
    number_13 = tl.load(row + 13 * rows).to(real)  # 1.0 - weight
    number_14 = tl.load(row + 14 * rows).to(real)  # 1.0 - weight_sq
    number_15 = tl.load(row + 15 * rows).to(real)  # 1.0 - weight_short
    step = tl.load(row + 16 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        exp_avg_short = load_signed(exp_avg_short_at, exp_avg_short_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_12, number_12, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_13 * exp_avg + weight * x4
        exp_avg_sq_new = number_14 * exp_avg_sq + weight_sq * (x4 * x4)
        exp_avg_short_new = number_15 * exp_avg_short + weight_short * x4
        x8 = root(quotient(exp_avg_sq_new, correction_sq))
        p_new = p - lr * quotient(gradient * quotient(exp_avg_short_new, correction_short) + momentum * exp_avg_new, x8 + eps) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)
        store_signed(exp_avg_short_at, exp_avg_short_scales, start, at, inside, codes, present, exp_avg_short_new, exp_avg_sq_kept, words_1, 16, rounded)

@triton.jit
def dana_mk4(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 7 * tensor
    place = places + (FIRST_SCALE + 2) * tensor
    size = tl.load(line + 4)
    first = (program - tl.load(line + 5)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 6)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    clip_snr = tl.load(row + 1 * rows).to(real)
    eps = tl.load(row + 2 * rows).to(real)
    largest = tl.load(row + 3 * rows).to(real)
    momentum = tl.load(row + 4 * rows).to(real)
    weight = tl.load(row + 5 * rows).to(real)
    weight_sq = tl.load(row + 6 * rows).to(real)
    lr = tl.load(row + 7 * rows).to(real)
    decay = tl.load(row + 8 * rows).to(real)
    number_9 = tl.load(row + 9 * rows).to(real)  # 0.0 - largest
    number_10 = tl.load(row + 10 * rows).to(real)  # 1.0 - weight
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - weight_sq
    step = tl.load(row + 12 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_9, number_9, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_10 * exp_avg + weight * x4
        exp_avg_sq_new = number_11 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        x8 = quotient(1.0, x7 + eps)
        x9 = tl.abs(exp_avg_new) * x8
        x10 = momentum * x9
        x11 = tl.where(x10 > clip_snr, clip_snr, x10)
        x12 = sign(exp_avg_new)
        p_new = p - lr * (x4 * x8 + x12 * (x11 + x9)) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def dana_star(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, tau_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 8 * tensor
    place = places + (FIRST_SCALE + 3) * tensor
    size = tl.load(line + 5)
    first = (program - tl.load(line + 6)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 7)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    tau_at = tl.load(line + 4).to(tl.pointer_type(tau_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
        tau_at = tl.multiple_of(tau_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    tau_scales = scales_of(place, 2, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    clock = tl.load(row + 1 * rows).to(real)
    damping_scale = tl.load(row + 2 * rows).to(real)
    eps = tl.load(row + 3 * rows).to(real)
    exponent = tl.load(row + 4 * rows).to(real)
    largest = tl.load(row + 5 * rows).to(real)
    weight = tl.load(row + 6 * rows).to(real)
    weight_sq = tl.load(row + 7 * rows).to(real)
    lr = tl.load(row + 8 * rows).to(real)
    decay = tl.load(row + 9 * rows).to(real)
    number_10 = tl.load(row + 10 * rows).to(real)  # 0.0 - largest
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - weight
    number_12 = tl.load(row + 12 * rows).to(real)  # 1.0 - weight_sq
    number_13 = tl.load(row + 13 * rows).to(real)  # 1.0 / (1.0 + clock)
    step = tl.load(row + 14 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        tau = load_magnitude(tau_at, tau_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_10, number_10, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_11 * exp_avg + weight * x4
        exp_avg_sq_new = number_12 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        x8 = x7 + eps
        x9 = tl.abs(x4)
        tau_new = number_11 * tau + weight * quotient(x9, x9 + x8)
        x11 = tl.where(tau_new > 0.5, 0.5, tau_new)
        x12 = 1.0 - x11
        x13 = quotient(1.0, x12 * x8)
        x14 = x11 * (x8 * x13)
        x15 = tl.where(x14 < number_13, number_13, x14)
        x16 = root(x15)
        x17 = clock * tau_new
        x18 = tl.where(x17 < 1.0, 1.0, x17)
        x19 = power(1.0 + x18, exponent)
        p_new = p - lr * (x16 * (x12 * x13) * (x4 + damping_scale * x19 * exp_avg_new)) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        tau_kept = store_magnitude(tau_at, tau_scales, start, at, inside, codes, present, tau_new, words_1, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def dana_star_mk4(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, tau_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 8 * tensor
    place = places + (FIRST_SCALE + 3) * tensor
    size = tl.load(line + 5)
    first = (program - tl.load(line + 6)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 7)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    tau_at = tl.load(line + 4).to(tl.pointer_type(tau_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
        tau_at = tl.multiple_of(tau_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    tau_scales = scales_of(place, 2, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    clip_snr = tl.load(row + 1 * rows).to(real)
    clock = tl.load(row + 2 * rows).to(real)
    damping_scale = tl.load(row + 3 * rows).to(real)
    eps = tl.load(row + 4 * rows).to(real)
    exponent = tl.load(row + 5 * rows).to(real)
    largest = tl.load(row + 6 * rows).to(real)
    weight = tl.load(row + 7 * rows).to(real)
    weight_sq = tl.load(row + 8 * rows).to(real)
    lr = tl.load(row + 9 * rows).to(real)
    decay = tl.load(row + 10 * rows).to(real)
    number_11 = tl.load(row + 11 * rows).to(real)  # 0.0 - largest
    number_12 = tl.load(row + 12 * rows).to(real)  # 1.0 - weight
    number_13 = tl.load(row + 13 * rows).to(real)  # 1.0 - weight_sq
    number_14 = tl.load(row + 14 * rows).to(real)  # 1.0 / (1.0 + clock)
    step = tl.load(row + 15 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        tau = load_magnitude(tau_at, tau_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_11, number_11, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_12 * exp_avg + weight * x4
        exp_avg_sq_new = number_13 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        x8 = x7 + eps
        x9 = tl.abs(x4)
        tau_new = number_12 * tau + weight * quotient(x9, x9 + x8)
        x11 = tl.where(tau_new > 0.5, 0.5, tau_new)
        x12 = 1.0 - x11
        x13 = quotient(1.0, x12 * x8)
        x14 = x11 * (x8 * x13)
        x15 = tl.where(x14 < number_14, number_14, x14)
        x16 = root(x15)
        x17 = x16 * (x12 * x13)
        x18 = clock * tau_new
        x19 = tl.where(x18 < 1.0, 1.0, x18)
        x20 = tl.abs(exp_avg_new) * x17
        x21 = power(x19, exponent)
        x22 = damping_scale * x21 * x20
        x23 = clip_snr * x15
        x24 = tl.where(x22 > x23, x23, x22)
        x25 = sign(exp_avg_new)
        p_new = p - lr * (x4 * x17 + x25 * (x24 + x20)) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        tau_kept = store_magnitude(tau_at, tau_scales, start, at, inside, codes, present, tau_new, words_1, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def released(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 7 * tensor
    place = places + (FIRST_SCALE + 2) * tensor
    size = tl.load(line + 4)
    first = (program - tl.load(line + 5)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 6)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    damping_scale = tl.load(row + 1 * rows).to(real)
    eps = tl.load(row + 2 * rows).to(real)
    growth = tl.load(row + 3 * rows).to(real)
    largest = tl.load(row + 4 * rows).to(real)
    weight = tl.load(row + 5 * rows).to(real)
    weight_sq = tl.load(row + 6 * rows).to(real)
    lr = tl.load(row + 7 * rows).to(real)
    number_8 = tl.load(row + 8 * rows).to(real)  # 0.0 - largest
    number_9 = tl.load(row + 9 * rows).to(real)  # 1.0 - weight
    number_10 = tl.load(row + 10 * rows).to(real)  # 1.0 - weight_sq
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - decay
    step = tl.load(row + 12 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_8, number_8, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_9 * exp_avg + weight * x4
        exp_avg_sq_new = number_10 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        x8 = quotient(1.0, x7 + eps)
        x9 = tl.abs(exp_avg_new) * x8
        x10 = sign(exp_avg_new)
        p_new = (p - lr * (x4 * x8 + damping_scale * x10 * (growth * x9 + x9))) * number_11
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def released_mk4(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 7 * tensor
    place = places + (FIRST_SCALE + 2) * tensor
    size = tl.load(line + 4)
    first = (program - tl.load(line + 5)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 6)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    clip_snr = tl.load(row + 1 * rows).to(real)
    damping_scale = tl.load(row + 2 * rows).to(real)
    eps = tl.load(row + 3 * rows).to(real)
    growth = tl.load(row + 4 * rows).to(real)
    largest = tl.load(row + 5 * rows).to(real)
    weight = tl.load(row + 6 * rows).to(real)
    weight_sq = tl.load(row + 7 * rows).to(real)
    lr = tl.load(row + 8 * rows).to(real)
    number_9 = tl.load(row + 9 * rows).to(real)  # 0.0 - largest
    number_10 = tl.load(row + 10 * rows).to(real)  # 1.0 - weight
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - weight_sq
    number_12 = tl.load(row + 12 * rows).to(real)  # 1.0 - decay
    step = tl.load(row + 13 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_9, number_9, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_10 * exp_avg + weight * x4
        exp_avg_sq_new = number_11 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        x8 = quotient(1.0, x7 + eps)
        x9 = tl.abs(exp_avg_new) * x8
        x10 = growth * x9
        x11 = tl.where(x10 > clip_snr, clip_snr, x10)
        x12 = sign(exp_avg_new)
        p_new = (p - lr * (x4 * x8 + damping_scale * x12 * (x11 + x9))) * number_12
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def released_star(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, tau_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 8 * tensor
    place = places + (FIRST_SCALE + 3) * tensor
    size = tl.load(line + 5)
    first = (program - tl.load(line + 6)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 7)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    tau_at = tl.load(line + 4).to(tl.pointer_type(tau_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
        tau_at = tl.multiple_of(tau_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    tau_scales = scales_of(place, 2, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    clock = tl.load(row + 1 * rows).to(real)
    damping_scale = tl.load(row + 2 * rows).to(real)
    eps = tl.load(row + 3 * rows).to(real)
    exponent = tl.load(row + 4 * rows).to(real)
    largest = tl.load(row + 5 * rows).to(real)
    weight = tl.load(row + 6 * rows).to(real)
    weight_sq = tl.load(row + 7 * rows).to(real)
    lr = tl.load(row + 8 * rows).to(real)
    number_9 = tl.load(row + 9 * rows).to(real)  # 0.0 - largest
    number_10 = tl.load(row + 10 * rows).to(real)  # 1.0 - weight
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - weight_sq
    number_12 = tl.load(row + 12 * rows).to(real)  # 1.0 / (1.0 + clock)
    number_13 = tl.load(row + 13 * rows).to(real)  # 1.0 - decay
    step = tl.load(row + 14 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        tau = load_magnitude(tau_at, tau_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_9, number_9, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_10 * exp_avg + weight * x4
        exp_avg_sq_new = number_11 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        x8 = x7 + eps
        x9 = tl.abs(x4)
        tau_new = number_10 * tau + weight * quotient(x9, x9 + x8)
        x11 = tl.where(tau_new > 0.5, 0.5, tau_new)
        x12 = 1.0 - x11
        x13 = quotient(1.0, x12 * x8)
        x14 = x11 * (x8 * x13)
        x15 = tl.where(x14 < number_12, number_12, x14)
        x16 = root(x15)
        x17 = x16 * (x12 * x13)
        x18 = clock * tau_new
        x19 = tl.where(x18 < 1.0, 1.0, x18)
        x20 = power(x19, exponent)
        x21 = tl.abs(exp_avg_new) * x17
        x22 = sign(exp_avg_new)
        p_new = (p - lr * (x4 * x17 + damping_scale * x22 * (x20 * x21 + x21))) * number_13
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        tau_kept = store_magnitude(tau_at, tau_scales, start, at, inside, codes, present, tau_new, words_1, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def released_star_mk4(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, exp_avg_sq_type: tl.constexpr, tau_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 8 * tensor
    place = places + (FIRST_SCALE + 3) * tensor
    size = tl.load(line + 5)
    first = (program - tl.load(line + 6)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 7)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    exp_avg_sq_at = tl.load(line + 3).to(tl.pointer_type(exp_avg_sq_type))
    tau_at = tl.load(line + 4).to(tl.pointer_type(tau_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
        exp_avg_sq_at = tl.multiple_of(exp_avg_sq_at, 16)
        tau_at = tl.multiple_of(tau_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    exp_avg_sq_scales = scales_of(place, 1, coded)
    tau_scales = scales_of(place, 2, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    clip_snr = tl.load(row + 1 * rows).to(real)
    clock = tl.load(row + 2 * rows).to(real)
    damping_scale = tl.load(row + 3 * rows).to(real)
    eps = tl.load(row + 4 * rows).to(real)
    exponent = tl.load(row + 5 * rows).to(real)
    largest = tl.load(row + 6 * rows).to(real)
    weight = tl.load(row + 7 * rows).to(real)
    weight_sq = tl.load(row + 8 * rows).to(real)
    lr = tl.load(row + 9 * rows).to(real)
    number_10 = tl.load(row + 10 * rows).to(real)  # 0.0 - largest
    number_11 = tl.load(row + 11 * rows).to(real)  # 1.0 - weight
    number_12 = tl.load(row + 12 * rows).to(real)  # 1.0 - weight_sq
    number_13 = tl.load(row + 13 * rows).to(real)  # 1.0 / (1.0 + clock)
    number_14 = tl.load(row + 14 * rows).to(real)  # 1.0 - decay
    step = tl.load(row + 15 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg_sq = load_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, real)
        tau = load_magnitude(tau_at, tau_scales, start, at, inside, codes, present, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_sq, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_10, number_10, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_11 * exp_avg + weight * x4
        exp_avg_sq_new = number_12 * exp_avg_sq + weight_sq * (x4 * x4)
        x7 = root(exp_avg_sq_new)
        x8 = x7 + eps
        x9 = tl.abs(x4)
        tau_new = number_11 * tau + weight * quotient(x9, x9 + x8)
        x11 = tl.where(tau_new > 0.5, 0.5, tau_new)
        x12 = 1.0 - x11
        x13 = quotient(1.0, x12 * x8)
        x14 = x11 * (x8 * x13)
        x15 = tl.where(x14 < number_13, number_13, x14)
        x16 = root(x15)
        x17 = x16 * (x12 * x13)
        x18 = clock * tau_new
        x19 = tl.where(x18 < 1.0, 1.0, x18)
        x20 = power(x19, exponent)
        x21 = tl.abs(exp_avg_new) * x17
        x22 = x20 * x21
        x23 = clip_snr * x15
        x24 = tl.where(x22 > x23, x23, x22)
        x25 = sign(exp_avg_new)
        p_new = (p - lr * (x4 * x17 + damping_scale * x25 * (x24 + x21))) * number_14
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        exp_avg_sq_kept = store_magnitude(exp_avg_sq_at, exp_avg_sq_scales, start, at, inside, codes, present, exp_avg_sq_new, words_0, 16, rounded)
        tau_kept = store_magnitude(tau_at, tau_scales, start, at, inside, codes, present, tau_new, words_1, 16, rounded)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, exp_avg_sq_kept, words_0, 0, rounded)

@triton.jit
def dana(table, places, owner, numbers, rows, real: tl.constexpr, p_type: tl.constexpr, g_type: tl.constexpr, exp_avg_type: tl.constexpr, rounded: tl.constexpr, rounding: tl.constexpr, WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    program = tl.program_id(0)
    tensor = tl.load(owner + program)
    line = table + 6 * tensor
    place = places + (FIRST_SCALE + 1) * tensor
    size = tl.load(line + 3)
    first = (program - tl.load(line + 4)) * (BLOCKS * BLOCK)
    row = numbers + tl.load(line + 5)
    p_at = tl.load(line + 0).to(tl.pointer_type(p_type))
    g_at = tl.load(line + 1).to(tl.pointer_type(g_type))
    exp_avg_at = tl.load(line + 2).to(tl.pointer_type(exp_avg_type))
    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written
        size = tl.multiple_of(size, 16)
        p_at = tl.multiple_of(p_at, 16)
        g_at = tl.multiple_of(g_at, 16)
        exp_avg_at = tl.multiple_of(exp_avg_at, 16)
    coded: tl.constexpr = exp_avg_type == tl.int16
    widest: tl.constexpr = exp_avg_type if exp_avg_type.primitive_bitwidth > p_type.primitive_bitwidth else p_type
    length = length_of(place, coded, WHOLE)
    left_at = compensation_of(place, rounding, WHOLE)
    exp_avg_scales = scales_of(place, 0, coded)
    ascent = tl.load(row + 0 * rows).to(real)
    largest = tl.load(row + 1 * rows).to(real)
    momentum = tl.load(row + 2 * rows).to(real)
    weight = tl.load(row + 3 * rows).to(real)
    lr = tl.load(row + 4 * rows).to(real)
    decay = tl.load(row + 5 * rows).to(real)
    number_6 = tl.load(row + 6 * rows).to(real)  # 0.0 - largest
    number_7 = tl.load(row + 7 * rows).to(real)  # 1.0 - weight
    step = tl.load(row + 8 * rows)
    first_0, second_0, number = random_key(place, step, 0, rounded)
    first_1, second_1, number = random_key(place, step, 1, rounded)
    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):
        start, at, inside, codes, present = elements(first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK)
        words_0 = random_words(first_0, second_0, number + start, at, rounded, EVEN)
        words_1 = random_words(first_1, second_1, number + start, at, rounded, EVEN)
        g = load(g_at + start, at, inside).to(real)
        p = load_parameter(p_at, left_at, start, at, inside, real)
        exp_avg = load_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, None, real)
        x1 = ascent * g
        x2 = tl.where(x1 > largest, largest, x1)
        x3 = tl.where(x2 < number_6, number_6, x2)
        x4 = x3 + 0.0 * x1
        exp_avg_new = number_7 * exp_avg + weight * x4
        p_new = p - lr * (x4 + momentum * exp_avg_new) - decay * p
        store_parameter(p_at, left_at, start, at, inside, p_new, words_1, rounding)
        store_signed(exp_avg_at, exp_avg_scales, start, at, inside, codes, present, exp_avg_new, None, words_0, 0, rounded)

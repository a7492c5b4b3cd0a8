//! F(4, 3): four neighbouring sums of a three-tap filter from six products (A. Lavin, S. Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2016).

/// Neighbouring inputs, and products.
pub const INPUT_ROWS: usize = 6;
/// Sums.
pub const OUTPUT_ROWS: usize = 4;

/// The factors of the six products for a filter.
pub fn kernel_products([a, b, c]: [f32; 3]) -> [f32; INPUT_ROWS] {
    let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
    [
        a / 4.0,
        -(a + b + c) / 6.0,
        -(a - b + c) / 6.0,
        (a + 2.0 * b + 4.0 * c) / 24.0,
        (a - 2.0 * b + 4.0 * c) / 24.0,
        c,
    ]
    .map(|product| product as f32)
}

/// Neighbouring values that are computed together.
pub const LANES: usize = 16;

/// What the products are taken of, for each lane.
#[inline(always)]
pub fn transformed_inputs<const FUSED: bool>(
    rows: [[f32; LANES]; INPUT_ROWS],
) -> [[f32; LANES]; INPUT_ROWS] {
    let mul_add = fused::<FUSED>;
    each_lane(rows, |[a, b, c, d, e, f]| {
        let (even, odd) = (mul_add(c, -4.0, e), mul_add(b, -4.0, d));
        let (even_2, odd_2) = (e - c, d - b);
        [
            mul_add(a, 4.0, mul_add(c, -5.0, e)),
            even + odd,
            even - odd,
            mul_add(odd_2, 2.0, even_2),
            mul_add(odd_2, -2.0, even_2),
            mul_add(b, 4.0, mul_add(d, -5.0, f)),
        ]
    })
}

/// The sums that six products make, for each lane.
#[inline(always)]
pub fn sums_of_products<const FUSED: bool>(
    rows: [[f32; LANES]; INPUT_ROWS],
) -> [[f32; LANES]; OUTPUT_ROWS] {
    let mul_add = fused::<FUSED>;
    each_lane(rows, |[a, b, c, d, e, f]| {
        let (even, odd) = (b + c, b - c);
        let (even_2, odd_2) = (d + e, d - e);
        [
            a + even + even_2,
            mul_add(odd_2, 2.0, odd),
            mul_add(even_2, 4.0, even),
            mul_add(odd_2, 8.0, odd) + f,
        ]
    })
}

#[inline(always)]
fn each_lane<const FROM: usize, const TO: usize>(
    rows: [[f32; LANES]; FROM],
    compute: impl Fn([f32; FROM]) -> [f32; TO],
) -> [[f32; LANES]; TO] {
    let mut results = [[0.0; LANES]; TO];
    for lane in 0..LANES {
        let values = compute(std::array::from_fn(|row| rows[row][lane]));
        for row in 0..TO {
            results[row][lane] = values[row];
        }
    }
    results
}

#[inline(always)]
fn fused<const FUSED: bool>(value: f32, factor: f32, addend: f32) -> f32 {
    match FUSED {
        true => value.mul_add(factor, addend),
        false => value * factor + addend,
    }
}

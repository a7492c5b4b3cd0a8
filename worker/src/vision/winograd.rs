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

/// What the products are taken of.
#[inline(always)]
pub fn transformed_inputs<const FUSED: bool>(
    [a, b, c, d, e, f]: [f32; INPUT_ROWS],
) -> [f32; INPUT_ROWS] {
    let mul_add = fused::<FUSED>;
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
}

#[inline(always)]
pub fn sums_of_products<const FUSED: bool>(
    [a, b, c, d, e, f]: [f32; INPUT_ROWS],
) -> [f32; OUTPUT_ROWS] {
    let mul_add = fused::<FUSED>;
    let (even, odd) = (b + c, b - c);
    let (even_2, odd_2) = (d + e, d - e);
    [
        a + even + even_2,
        mul_add(odd_2, 2.0, odd),
        mul_add(even_2, 4.0, even),
        mul_add(odd_2, 8.0, odd) + f,
    ]
}

#[inline(always)]
fn fused<const FUSED: bool>(value: f32, factor: f32, addend: f32) -> f32 {
    match FUSED {
        true => value.mul_add(factor, addend),
        false => value * factor + addend,
    }
}

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

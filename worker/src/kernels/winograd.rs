//! Winograd's F(4, 3): four neighboring outputs of a three-tap filter from six products instead of twelve (S. Winograd,
//! "Arithmetic Complexity of Computations", 1980; A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2016).

/// Neighboring inputs, and products.
pub const INPUT_ROWS: usize = 6;
/// Neighboring outputs.
pub const OUTPUT_ROWS: usize = 4;

/// What the transforms compute with: a float32, or a vector of them.
pub trait Number: Copy {
    fn add(self, other: Self) -> Self;
    /// Returns `self * factor + addend`, rounded once where the processor can.
    fn mul_add(self, factor: f32, addend: Self) -> Self;
    /// Returns `self - other`.
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        other.mul_add(-1.0, self)
    }
}

/// Transforms a filter into the factors of the six products.
pub fn transform_kernel([a, b, c]: [f32; 3]) -> [f32; INPUT_ROWS] {
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

/// Transforms six inputs into the other factors of the products.
#[inline(always)]
pub fn transform_inputs<N: Number>([a, b, c, d, e, f]: [N; INPUT_ROWS]) -> [N; INPUT_ROWS] {
    let (even, odd) = (c.mul_add(-4.0, e), b.mul_add(-4.0, d));
    let (even_2, odd_2) = (e.sub(c), d.sub(b));
    [
        a.mul_add(4.0, c.mul_add(-5.0, e)),
        even.add(odd),
        even.sub(odd),
        odd_2.mul_add(2.0, even_2),
        odd_2.mul_add(-2.0, even_2),
        b.mul_add(4.0, d.mul_add(-5.0, f)),
    ]
}

/// Transforms six products into four outputs. `add_bias` is applied to two intermediate sums, one of which is part of
/// each output.
#[inline(always)]
pub fn transform_products<N: Number>(
    [a, b, c, d, e, f]: [N; INPUT_ROWS],
    add_bias: impl Fn(N) -> N,
) -> [N; OUTPUT_ROWS] {
    let (even, odd) = (add_bias(b.add(c)), add_bias(b.sub(c)));
    let (even_2, odd_2) = (d.add(e), d.sub(e));
    [
        a.add(even).add(even_2),
        odd_2.mul_add(2.0, odd),
        even_2.mul_add(4.0, even),
        odd_2.mul_add(8.0, odd).add(f),
    ]
}

//! Operators of libtorch that its Rust binding lacks, and tensors over mapped memory. All unsafe code of this crate is
//! here.
#![allow(
    unsafe_code,
    reason = "calling C++ and making tensors of memory that they do not own need it"
)]

use std::ffi::{CStr, c_char, c_void};
use std::ops::Deref;

use tch::{Device, Kind, TchError, Tensor};
use worker::kernels::{Mapped, Plain};

/// A pointer to an `at::Tensor`.
type RawTensor = *mut c_void;
type ConstTensor = *const c_void;
type ErrorSlot = *mut *mut c_char;

// src/operators.cc
unsafe extern "C" {
    fn muster_free_error(error: *mut c_char);
    fn muster_has_fast_products() -> bool;
    fn muster_begin_inference() -> *mut c_void;
    fn muster_end_inference(mode: *mut c_void);
    fn muster_pack(
        weights: ConstTensor,
        window: *const Window,
        shape: *const i64,
        error: ErrorSlot,
    ) -> RawTensor;
    fn muster_convolve(
        sum: ConstTensor,
        input: ConstTensor,
        weights: ConstTensor,
        bias: ConstTensor,
        window: *const Window,
        relu: bool,
        error: ErrorSlot,
    ) -> RawTensor;
    fn muster_pack_bytes(
        weights: ConstTensor,
        scales: ConstTensor,
        input_scale: f64,
        window: *const Window,
        shape: *const i64,
        error: ErrorSlot,
    ) -> RawTensor;
    fn muster_convolve_bytes(
        sum: ConstTensor,
        input: ConstTensor,
        input_scale: f64,
        weights: ConstTensor,
        scales: ConstTensor,
        zeros: ConstTensor,
        bias: ConstTensor,
        window: *const Window,
        output_scale: f64,
        relu: bool,
        error: ErrorSlot,
    ) -> RawTensor;
}

/// Returns whether libtorch's matrix products are as fast as oneDNN's convolutions with 1x1 kernels.
pub fn has_fast_products() -> bool {
    // SAFETY: it reads what the processor says of itself.
    unsafe { muster_has_fast_products() }
}

/// A guard: while it lives, operators on this thread keep nothing for gradients, and print no warnings. The former halves
/// libtorch's own overhead for an operator, which counts for small ones.
#[derive(Debug)]
pub struct InferenceMode(*mut c_void);

impl InferenceMode {
    pub fn begin() -> Self {
        // SAFETY: `drop` ends the guard once, on this thread: the pointer makes the type `!Send`.
        Self(unsafe { muster_begin_inference() })
    }
}

impl Drop for InferenceMode {
    fn drop(&mut self) {
        // SAFETY: see `begin`.
        unsafe { muster_end_inference(self.0) }
    }
}

/// A tensor that is only read, so that threads may share it.
#[derive(Debug)]
pub struct Constant(Tensor);

// SAFETY: libtorch counts references atomically and allows concurrent reads. The tensor is only lent for reading, and
// the only inputs that operators of this crate write to are the sums of `convolve`, which are no constants.
unsafe impl Sync for Constant {}

impl From<Tensor> for Constant {
    fn from(tensor: Tensor) -> Self {
        Self(tensor)
    }
}

impl Deref for Constant {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

/// Padding and stride of a convolution, height and width.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub padding: [i64; 2],
    pub stride: [i64; 2],
}

/// Int8 weights in oneDNN's layout, with scales and bias.
#[derive(Debug)]
pub struct PackedBytes {
    weights: Constant,
    /// One for each output channel.
    scales: Constant,
    zeros: Constant,
    bias: Constant,
    input_scale: f64,
}

/// Calls `read` with mapped numbers as a tensor of this shape, without a copy. Its result must not be a view of the
/// tensor; operators that rearrange weights return new tensors.
pub fn with_view<T: Plain + Element, R>(
    numbers: &Mapped<T>,
    shape: &[i64],
    read: impl FnOnce(&Tensor) -> R,
) -> R {
    assert_eq!(
        shape.iter().product::<i64>(),
        numbers.len() as i64,
        "the shape covers the numbers"
    );
    let strides: Vec<i64> = (0..shape.len())
        .map(|axis| shape[axis + 1..].iter().product())
        .collect();
    // SAFETY: the map outlives the tensor, which is only lent to `read`. Nothing writes to tensors of weights.
    let tensor = unsafe {
        Tensor::from_blob(
            numbers.as_ptr().cast(),
            shape,
            &strides,
            T::KIND,
            Device::Cpu,
        )
    };
    read(&tensor)
}

/// A tensor over mapped numbers. Processes that map the same file share its memory.
#[derive(Debug)]
pub struct MappedTensor {
    tensor: Constant,
    /// The tensor's memory.
    _numbers: Mapped<f32>,
}

impl MappedTensor {
    pub fn new(numbers: Mapped<f32>, shape: &[i64]) -> Self {
        // The map outlives the tensor: fields are dropped in order, and `Deref` only lends the tensor for reading.
        let tensor = with_view(&numbers, shape, Tensor::shallow_clone);
        Self {
            tensor: tensor.into(),
            _numbers: numbers,
        }
    }
}

impl Deref for MappedTensor {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

/// Types of numbers in weight files.
pub trait Element {
    const KIND: Kind;
}

impl Element for f32 {
    const KIND: Kind = Kind::Float;
}

impl Element for i8 {
    const KIND: Kind = Kind::Int8;
}

/// Rearranges float32 weights [out, in, height, width] into oneDNN's layout for inputs of `shape`.
pub fn pack(weights: &Tensor, window: Window, shape: [i64; 4]) -> Result<Tensor, TchError> {
    // SAFETY: see `result`.
    result(|error| unsafe { muster_pack(raw(weights), &raw const window, shape.as_ptr(), error) })
}

/// Convolves float32 with packed weights, adds `sum` in place if there is one, then applies a ReLU if `relu`.
pub fn convolve(
    sum: Option<&mut Tensor>,
    input: &Tensor,
    [weights, bias]: &[Constant; 2],
    window: Window,
    relu: bool,
) -> Result<Tensor, TchError> {
    // SAFETY: see `result`.
    result(|error| unsafe {
        let (weights, bias) = (raw(weights), raw(bias));
        let window = &raw const window;
        muster_convolve(
            optional(sum),
            raw(input),
            weights,
            bias,
            window,
            relu,
            error,
        )
    })
}

impl PackedBytes {
    /// Packs int8 `weights` [out, in, height, width]. The value of 1 is `scales[i]` in output channel i, and
    /// `input_scale` in the inputs. The bias is in float32.
    pub fn new(
        weights: &Tensor,
        scales: Tensor,
        bias: Tensor,
        input_scale: f64,
        window: Window,
        shape: [i64; 4],
    ) -> Result<Self, TchError> {
        // SAFETY: see `result`.
        let packed = result(|error| unsafe {
            let (weights, scales) = (raw(weights), raw(&scales));
            let (window, shape) = (&raw const window, shape.as_ptr());
            muster_pack_bytes(weights, scales, input_scale, window, shape, error)
        })?;
        Ok(Self {
            weights: packed.into(),
            zeros: scales.zeros_like().to_kind(Kind::Int).into(),
            scales: scales.into(),
            bias: bias.into(),
            input_scale,
        })
    }

    /// Convolves bytes, adds the float32 `sum` in place if there is one, then applies a ReLU if `relu`. Returns bytes in
    /// which 1 has the value `output_scale`, or float32 without it.
    ///
    /// Panics with both a `sum` and an `output_scale`.
    pub fn convolve(
        &self,
        sum: Option<&mut Tensor>,
        input: &Tensor,
        window: Window,
        output_scale: Option<f64>,
        relu: bool,
    ) -> Result<Tensor, TchError> {
        assert!(sum.is_none() || output_scale.is_none(), "sums are float32");
        // SAFETY: see `result`.
        result(|error| unsafe {
            muster_convolve_bytes(
                optional(sum),
                raw(input),
                self.input_scale,
                raw(&self.weights),
                raw(&self.scales),
                raw(&self.zeros),
                raw(&self.bias),
                &raw const window,
                output_scale.unwrap_or(0.0),
                relu,
                error,
            )
        })
    }
}

fn raw(tensor: &Tensor) -> ConstTensor {
    tensor.as_ptr().cast()
}

fn optional(tensor: Option<&mut Tensor>) -> ConstTensor {
    tensor.map_or(std::ptr::null(), |tensor| raw(tensor))
}

/// Returns the tensor of `call`, or its error.
///
/// Each call above is sound for the same reasons: tensors and arrays are borrowed and outlive it, arrays have the
/// lengths that src/operators.cc reads (2 and 4), and the result is a new `at::Tensor` or null.
fn result(call: impl FnOnce(ErrorSlot) -> RawTensor) -> Result<Tensor, TchError> {
    let mut error = std::ptr::null_mut();
    let tensor = call(&mut error);
    if tensor.is_null() {
        // SAFETY: without a tensor there is an error, a C string that the caller frees.
        let message = unsafe {
            let message = CStr::from_ptr(error).to_string_lossy().into_owned();
            muster_free_error(error);
            message
        };
        return Err(TchError::Torch(message));
    }
    // SAFETY: it was made by `new at::Tensor`, and this is its only owner.
    Ok(unsafe { Tensor::from_ptr(tensor.cast()) })
}

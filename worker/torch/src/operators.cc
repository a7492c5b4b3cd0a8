// Operators that libtorch registers with its dispatcher, but offers neither in its C++ API nor in the Rust binding:
// oneDNN's convolutions in float32 and in 8-bit integers, with weights in oneDNN's own layout. PyTorch's compiler
// (torch/_inductor/mkldnn_lowerings.py) calls them the same way.
//
// Each function returns a new tensor, or null and an error that the caller frees.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

// Padding and stride of a convolution, height and width.
struct Window {
    int64_t padding[2];
    int64_t stride[2];
};

namespace {

using c10::IValue;

std::vector<int64_t> pair(const int64_t *values) { return {values[0], values[1]}; }

const std::vector<int64_t> kOne = {1, 1};

IValue no_scalars() {
    return c10::List<std::optional<at::Scalar>>();
}

using Operation = c10::OperatorHandle;

Operation find(const char *name, const char *overload) {
    return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
}

at::Tensor call(const Operation &operation, std::initializer_list<IValue> arguments) {
    std::vector<IValue> stack(arguments);
    operation.callBoxed(&stack);
    return stack.at(0).toTensor();
}

template <typename F>
at::Tensor *guarded(char **error, F function) {
    try {
        return new at::Tensor(function());
    } catch (const std::exception &exception) {
        *error = strdup(exception.what());
        return nullptr;
    }
}

struct Silence : c10::WarningHandler {
    void process(const c10::Warning &) override {}
};

// Until it ends, this thread's operators keep nothing for gradients, not even versions of tensors, and print no warnings:
// PyTorch warns of the end of the quantized types, which oneDNN's operators and the pooling of bytes take.
struct Inference {
    c10::InferenceMode mode;
    Silence silence;
    c10::WarningUtils::WarningHandlerGuard guard{&silence};
};

}  // namespace

extern "C" {

void muster_free_error(char *error) { free(error); }

// On processors of other makers, MKL copies the weights into its own layout for each product: on an AMD EPYC (Zen 4) an
// embedding took 36 ms, and 33 ms with oneDNN's convolutions.
bool muster_has_fast_products() {
#if defined(__x86_64__)
    return __builtin_cpu_is("intel");
#else
    return true;
#endif
}

Inference *muster_begin_inference() { return new Inference(); }

void muster_end_inference(Inference *inference) { delete inference; }

// Rearranges float32 weights [out, in, height, width] into oneDNN's layout for inputs of `shape`.
at::Tensor *muster_pack(const at::Tensor *weights, const Window *window, const int64_t *shape, char **error) {
    return guarded(error, [&] {
        static const Operation operation = find("mkldnn::_reorder_convolution_weight", "");
        return call(operation,
                    {*weights, pair(window->padding), pair(window->stride), kOne, int64_t(1),
                     std::vector<int64_t>(shape, shape + 4)});
    });
}

// Convolves float32, adds `sum` in place unless it is null, then applies a ReLU if `relu`.
at::Tensor *muster_convolve(const at::Tensor *sum, const at::Tensor *input, const at::Tensor *weights,
                            const at::Tensor *bias, const Window *window, bool relu, char **error) {
    return guarded(error, [&] {
        auto padding = pair(window->padding), stride = pair(window->stride);
        if (sum == nullptr) {
            static const Operation operation = find("mkldnn::_convolution_pointwise", "");
            return call(operation,
                        {*input, *weights, *bias, padding, stride, kOne, int64_t(1), relu ? "relu" : "none",
                         no_scalars(), IValue()});
        }
        static const Operation operation = find("mkldnn::_convolution_pointwise_", "binary");
        return call(operation,
                    {*sum, *input, *weights, *bias, padding, stride, kOne, int64_t(1), "add", at::Scalar(1.0),
                     relu ? IValue("relu") : IValue(), no_scalars(), IValue()});
    });
}

// Rearranges int8 weights [out, in, height, width], with one of `scales` for each output, into oneDNN's layout for
// inputs of `shape`: bytes in which 1 has the value `input_scale`.
at::Tensor *muster_pack_bytes(const at::Tensor *weights, const at::Tensor *scales, double input_scale,
                              const Window *window, const int64_t *shape, char **error) {
    return guarded(error, [&] {
        static const Operation operation = find("onednn::qconv_prepack", "");
        return call(operation,
                    {*weights, *scales, input_scale, int64_t(0), pair(window->stride), pair(window->padding), kOne,
                     int64_t(1), std::vector<int64_t>(shape, shape + 4)});
    });
}

// Convolves bytes, adds the float32 `sum` in place unless it is null, then applies a ReLU if `relu`. Returns bytes in
// which 1 has the value `output_scale`, or float32 if that is 0, as it is with a sum.
at::Tensor *muster_convolve_bytes(const at::Tensor *sum, const at::Tensor *input, double input_scale,
                                  const at::Tensor *weights, const at::Tensor *scales, const at::Tensor *zeros,
                                  const at::Tensor *bias, const Window *window, double output_scale, bool relu,
                                  char **error) {
    return guarded(error, [&] {
        auto padding = pair(window->padding), stride = pair(window->stride);
        const char *activation = relu ? "relu" : "none";
        if (sum == nullptr) {
            auto kind = output_scale == 0.0 ? at::kFloat : at::kByte;
            static const Operation operation = find("onednn::qconv2d_pointwise", "");
            return call(operation,
                        {*input, input_scale, int64_t(0), *weights, *scales, *zeros, *bias, stride, padding, kOne,
                         int64_t(1), output_scale == 0.0 ? 1.0 : output_scale, int64_t(0), kind, activation,
                         no_scalars(), IValue("")});
        }
        static const Operation operation = find("onednn::qconv2d_pointwise", "binary");
        return call(operation,
                    {*input, input_scale, int64_t(0), *weights, *scales, *zeros, *sum, *bias, stride, padding, kOne,
                     int64_t(1), 1.0, int64_t(0), at::kFloat, 1.0, int64_t(0), "sum", at::Scalar(1.0), activation,
                     no_scalars(), IValue("")});
    });
}
}

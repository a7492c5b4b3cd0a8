//! The network's steps, named as in facenet-pytorch's `inception_resnet_v1.py`.

use super::{Architecture, Buffer, Convolution, FEATURES, Step, TensorRef};

impl Architecture {
    /// Returns the network for square inputs of `side` pixels, at least [`SMALLEST_SIDE`](super::SMALLEST_SIDE).
    pub fn new(side: usize) -> Self {
        inception_resnet_v1(side)
    }
}

fn inception_resnet_v1(side: usize) -> Architecture {
    let mut build = Build::default();
    let input = build.tensor(side, 3, [0, 0]);
    let stem = build.stem(input);
    let side = build.side(stem);

    let inner = [
        build.buffer(side, 32, [1, 1]),
        build.buffer(side, 32, [1, 1]),
    ];
    let joined = build.buffer(side, 96, [0, 0]);
    let mut stream = stem;
    for index in 0..5 {
        let name = |part: &str| format!("repeat_1.{index}.{part}");
        let join = build.value(joined);
        build
            .convolve(name("branch0"), stream, join, [1, 1])
            .outputs(32);
        let reduced = build.value(inner[0]);
        build.convolve(name("branch1.0"), stream, reduced, [1, 1]);
        build
            .convolve(name("branch1.1"), reduced, join, [3, 3])
            .outputs(32)
            .at(32);
        let reduced = build.value(inner[0]);
        let middle = build.value(inner[1]);
        build.convolve(name("branch2.0"), stream, reduced, [1, 1]);
        build.convolve(name("branch2.1"), reduced, middle, [3, 3]);
        build
            .convolve(name("branch2.2"), middle, join, [3, 3])
            .outputs(32)
            .at(64);
        stream = build.add(name("conv2d"), join, stream);
    }
    build.network.batched_from = build.network.steps.len();

    let next = build.stream(halved(side), 896);
    let reduced = build.batched_tensor(side, 192, [1, 1]);
    let middle = build.batched_tensor(side, 192, [0, 0]);
    build
        .convolve("mixed_6a.branch0", stream, next, [3, 3])
        .halve()
        .outputs(384);
    build.convolve("mixed_6a.branch1.0", stream, reduced, [1, 1]);
    build.convolve("mixed_6a.branch1.1", reduced, middle, [3, 3]);
    build
        .convolve("mixed_6a.branch1.2", middle, next, [3, 3])
        .halve()
        .outputs(256)
        .at(384);
    build.pool(stream, next, 640);
    stream = next;
    let side = halved(side);
    for index in 0..10 {
        stream = build.block(&format!("repeat_2.{index}"), stream, 128, 7, true);
    }

    let next = build.stream(halved(side), FEATURES);
    for (branch, outputs, channel) in [("branch0", 384, 0), ("branch1", 256, 384)] {
        let reduced = build.batched_tensor(side, 256, [0, 0]);
        build.convolve(format!("mixed_7a.{branch}.0"), stream, reduced, [1, 1]);
        let last = build.convolve(format!("mixed_7a.{branch}.1"), reduced, next, [3, 3]);
        last.halve().outputs(outputs).at(channel);
    }
    let reduced = build.batched_tensor(side, 256, [1, 1]);
    let middle = build.batched_tensor(side, 256, [0, 0]);
    build.convolve("mixed_7a.branch2.0", stream, reduced, [1, 1]);
    build.convolve("mixed_7a.branch2.1", reduced, middle, [3, 3]);
    build
        .convolve("mixed_7a.branch2.2", middle, next, [3, 3])
        .halve()
        .outputs(256)
        .at(640);
    build.pool(stream, next, 896);
    stream = next;
    for index in 0..5 {
        stream = build.block(&format!("repeat_3.{index}"), stream, 192, 3, true);
    }
    build.block("block8", stream, 192, 3, false);
    build.network
}

/// Returns the side of a map after 3x3 windows, 2 apart, without padding.
fn halved(side: usize) -> usize {
    (side - 3) / 2 + 1
}

#[derive(Default)]
struct Build {
    network: Architecture,
}

impl Build {
    fn stem(&mut self, input: TensorRef) -> TensorRef {
        let mut side = halved(self.side(input));
        let first = self.tensor(side, 32, [0, 0]);
        self.convolve("conv2d_1a", input, first, [3, 3]).halve();
        side -= 2;
        let second = self.tensor(side, 32, [1, 1]);
        self.convolve("conv2d_2a", first, second, [3, 3]).valid();
        let third = self.tensor(side, 64, [0, 0]);
        self.convolve("conv2d_2b", second, third, [3, 3]);
        side = halved(side);
        // A maximum of bytes has the scale of the bytes.
        let pooled = TensorRef {
            buffer: self.buffer(side, 64, [0, 0]),
            value: third.value,
        };
        self.pool(third, pooled, 0);
        let fourth = self.tensor(side, 80, [0, 0]);
        self.convolve("conv2d_3b", pooled, fourth, [1, 1]);
        side -= 2;
        let fifth = self.tensor(side, 192, [0, 0]);
        self.convolve("conv2d_4a", fourth, fifth, [3, 3]).valid();
        let stream = self.stream(halved(side), 256);
        self.convolve("conv2d_4b", fifth, stream, [3, 3]).halve();
        stream
    }

    /// Adds a residual block of two branches, the second with kernels of `length` along x and y.
    fn block(
        &mut self,
        name: &str,
        stream: TensorRef,
        channels: usize,
        length: usize,
        relu: bool,
    ) -> TensorRef {
        let side = self.side(stream);
        let along_x = self.batched_tensor(side, channels, [0, length / 2]);
        let along_y = self.batched_tensor(side, channels, [length / 2, 0]);
        let join = self.batched_tensor(side, 2 * channels, [0, 0]);
        self.convolve(format!("{name}.branch0"), stream, join, [1, 1])
            .outputs(channels);
        self.convolve(format!("{name}.branch1.0"), stream, along_x, [1, 1]);
        self.convolve(format!("{name}.branch1.1"), along_x, along_y, [1, length]);
        self.convolve(format!("{name}.branch1.2"), along_y, join, [length, 1])
            .outputs(channels)
            .at(channels);
        let sum = self.add(format!("{name}.conv2d"), join, stream);
        if !relu {
            self.last().relu = false;
        }
        sum
    }

    fn side(&self, tensor: TensorRef) -> usize {
        self.network.buffers[tensor.buffer].height
    }

    fn buffer(&mut self, side: usize, channels: usize, margin: [usize; 2]) -> usize {
        self.add_buffer(Buffer::square(side, channels, margin))
    }

    fn add_buffer(&mut self, buffer: Buffer) -> usize {
        self.network.buffers.push(buffer);
        self.network.buffers.len() - 1
    }

    fn value(&mut self, buffer: usize) -> TensorRef {
        self.network.values += 1;
        TensorRef {
            buffer,
            value: self.network.values - 1,
        }
    }

    /// Adds a buffer for one image at a time.
    fn tensor(&mut self, side: usize, channels: usize, margin: [usize; 2]) -> TensorRef {
        let buffer = self.buffer(side, channels, margin);
        self.value(buffer)
    }

    /// Adds a buffer for a batch, or takes one of the same shape.
    fn batched_tensor(&mut self, side: usize, channels: usize, margin: [usize; 2]) -> TensorRef {
        let buffer = Buffer {
            batched: true,
            ..Buffer::square(side, channels, margin)
        };
        let mut buffers = self.network.buffers.iter();
        let same = buffers.position(|other| *other == buffer);
        let buffer = same.unwrap_or_else(|| self.add_buffer(buffer));
        self.value(buffer)
    }

    fn stream(&mut self, side: usize, channels: usize) -> TensorRef {
        let buffer = self.add_buffer(Buffer {
            batched: true,
            is_stream: true,
            ..Buffer::square(side, channels, [0, 0])
        });
        self.value(buffer)
    }

    fn convolve(
        &mut self,
        name: impl Into<String>,
        input: TensorRef,
        output: TensorRef,
        kernel: [usize; 2],
    ) -> &mut Convolution {
        let channels = |tensor: TensorRef| self.network.buffers[tensor.buffer].channels;
        let convolution = Convolution {
            name: name.into(),
            index: self.network.convolutions().count(),
            inputs: channels(input),
            outputs: channels(output),
            kernel,
            stride: 1,
            padding: kernel.map(|length| length / 2),
            input,
            output,
            channel: 0,
            accumulate: false,
            relu: true,
        };
        self.network.steps.push(Step::Convolve(convolution));
        self.last()
    }

    fn last(&mut self) -> &mut Convolution {
        match self.network.steps.last_mut() {
            Some(Step::Convolve(convolution)) => convolution,
            _ => unreachable!("a convolution was just added"),
        }
    }

    /// Adds a block's last convolution, which adds to the stream.
    fn add(&mut self, name: String, join: TensorRef, stream: TensorRef) -> TensorRef {
        let sum = self.value(stream.buffer);
        self.convolve(name, join, sum, [1, 1]).accumulate = true;
        sum
    }

    fn pool(&mut self, input: TensorRef, output: TensorRef, channel: usize) {
        self.network.steps.push(Step::MaxPool {
            input,
            output,
            channel,
        });
    }
}

impl Buffer {
    fn square(side: usize, channels: usize, margin: [usize; 2]) -> Self {
        Self {
            height: side,
            width: side,
            channels,
            margin,
            batched: false,
            is_stream: false,
        }
    }
}

impl Convolution {
    fn valid(&mut self) -> &mut Self {
        self.padding = [0, 0];
        self
    }

    fn halve(&mut self) -> &mut Self {
        self.stride = 2;
        self.valid()
    }

    fn outputs(&mut self, outputs: usize) -> &mut Self {
        self.outputs = outputs;
        self
    }

    fn at(&mut self, channel: usize) -> &mut Self {
        self.channel = channel;
        self
    }
}

//! Inception-ResNet v1 as a list of steps over a few buffers, named as in facenet-pytorch's `inception_resnet_v1.py`.
//! Batch norms and residual scales are folded into the weights (see scripts/convert_weights.py).

use crate::vision::native::convolve::{Geometry, Strides};

/// Channels after the last block: what the last, dense layer reads.
pub const FEATURES: usize = 1792;

/// Of an input: the last map is a single pixel then.
pub const SMALLEST_SIDE: usize = 75;

/// The network for one size of input.
#[derive(Debug)]
pub struct Architecture {
    pub buffers: Vec<Buffer>,
    pub steps: Vec<Step>,
    /// How many quantities [`Place::value`] tells apart.
    pub values: usize,
    /// Steps before this one run image by image, since their weights are small beside what they compute; the others
    /// take a whole batch, since theirs are large.
    pub batched_from: usize,
}

/// Activations in rows of pixels of channels, surrounded by a margin that stays zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Rows above and below, columns left and right.
    pub margin: [usize; 2],
    /// Whether it holds each image of a batch, or one at a time.
    pub batched: bool,
    /// Whether blocks add to it, so that it is kept in float32 whatever the convolutions read.
    pub is_stream: bool,
}

/// A buffer, and which of the quantities that pass through it; each has a scale of its own as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub buffer: usize,
    pub value: usize,
}

#[derive(Debug)]
pub enum Step {
    Convolve(Convolution),
    /// 3x3, stride 2.
    MaxPool {
        input: Place,
        output: Place,
        /// The first channel of the output that is written.
        channel: usize,
    },
}

#[derive(Debug)]
pub struct Convolution {
    pub name: String,
    pub inputs: usize,
    pub outputs: usize,
    /// Height and width.
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: [usize; 2],
    pub input: Place,
    pub output: Place,
    /// The first channel of the output that is written.
    pub channel: usize,
    /// Adds to what the output holds.
    pub accumulate: bool,
    pub relu: bool,
}

impl Step {
    pub fn is_convolution(&self) -> bool {
        matches!(self, Self::Convolve(_))
    }

    pub fn input(&self) -> Place {
        match self {
            Self::Convolve(convolution) => convolution.input,
            Self::MaxPool { input, .. } => *input,
        }
    }

    pub fn output(&self) -> Place {
        match self {
            Self::Convolve(convolution) => convolution.output,
            Self::MaxPool { output, .. } => *output,
        }
    }
}

impl Buffer {
    pub fn row(&self) -> usize {
        (self.width + 2 * self.margin[1]) * self.channels
    }

    /// Elements of one image.
    pub fn image(&self) -> usize {
        (self.height + 2 * self.margin[0]) * self.row()
    }

    fn strides(&self, step: usize) -> Strides {
        Strides {
            image: self.image(),
            row: self.row() * step,
            pixel: self.channels * step,
        }
    }

    /// Elements before a batch's image `image`.
    pub fn start(&self, image: usize) -> usize {
        if self.batched {
            image * self.image()
        } else {
            0
        }
    }

    /// Elements from the image's first to the pixel at `margin` from the top left corner of what is inside the margin.
    fn inside(&self, margin: [usize; 2]) -> usize {
        (self.margin[0] - margin[0]) * self.row() + (self.margin[1] - margin[1]) * self.channels
    }
}

impl Convolution {
    /// Whether it is a 3x3 convolution of all that is in its input, margin included, to all that is in its output.
    pub fn is_plain(&self, buffers: &[Buffer]) -> bool {
        let (input, output) = (&buffers[self.input.buffer], &buffers[self.output.buffer]);
        self.kernel == [3, 3]
            && self.stride == 1
            && self.padding == input.margin
            && output.margin == [0, 0]
            && self.outputs == output.channels
            && !self.accumulate
    }

    /// How `images` images from `first` on are computed, and where in the buffers their inputs and outputs begin.
    pub fn geometry(
        &self,
        buffers: &[Buffer],
        first: usize,
        images: usize,
    ) -> (Geometry, usize, usize) {
        let (input, output) = (&buffers[self.input.buffer], &buffers[self.output.buffer]);
        let geometry = Geometry {
            images,
            height: output.height,
            width: output.width,
            outputs: self.outputs,
            input: input.strides(self.stride),
            kernel_row: input.row(),
            kernel_rows: self.kernel[0],
            run: self.kernel[1] * self.inputs,
            output: output.strides(1),
        };
        let from = input.start(first) + input.inside(self.padding);
        let to = output.start(first) + output.inside([0, 0]) + self.channel;
        (geometry, from, to)
    }
}

impl Architecture {
    /// For square inputs of `side` pixels, at least [`SMALLEST_SIDE`].
    pub fn new(side: usize) -> Self {
        let mut build = Build::default();
        let input = build.place(side, 3, [0, 0]);
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
        let reduced = build.batched_place(side, 192, [1, 1]);
        let middle = build.batched_place(side, 192, [0, 0]);
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
            let reduced = build.batched_place(side, 256, [0, 0]);
            build.convolve(format!("mixed_7a.{branch}.0"), stream, reduced, [1, 1]);
            let last = build.convolve(format!("mixed_7a.{branch}.1"), reduced, next, [3, 3]);
            last.halve().outputs(outputs).at(channel);
        }
        let reduced = build.batched_place(side, 256, [1, 1]);
        let middle = build.batched_place(side, 256, [0, 0]);
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

    pub fn convolutions(&self) -> impl Iterator<Item = &Convolution> {
        self.steps.iter().filter_map(|step| match step {
            Step::Convolve(convolution) => Some(convolution),
            Step::MaxPool { .. } => None,
        })
    }

    /// The buffer that holds the last block's output, which is averaged over its pixels.
    pub fn features(&self) -> usize {
        self.steps.last().expect("there are steps").output().buffer
    }
}

/// Side of a map after a 3x3 window, 2 apart, without padding.
fn halved(side: usize) -> usize {
    (side - 3) / 2 + 1
}

struct Build {
    network: Architecture,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            network: Architecture {
                buffers: Vec::new(),
                steps: Vec::new(),
                values: 0,
                batched_from: 0,
            },
        }
    }
}

impl Build {
    fn stem(&mut self, input: Place) -> Place {
        let mut side = halved(self.side(input));
        let first = self.place(side, 32, [0, 0]);
        self.convolve("conv2d_1a", input, first, [3, 3]).halve();
        side -= 2;
        let second = self.place(side, 32, [1, 1]);
        self.convolve("conv2d_2a", first, second, [3, 3]).valid();
        let third = self.place(side, 64, [0, 0]);
        self.convolve("conv2d_2b", second, third, [3, 3]);
        side = halved(side);
        // A maximum of bytes has the scale of the bytes.
        let pooled = Place {
            buffer: self.buffer(side, 64, [0, 0]),
            value: third.value,
        };
        self.pool(third, pooled, 0);
        let fourth = self.place(side, 80, [0, 0]);
        self.convolve("conv2d_3b", pooled, fourth, [1, 1]);
        side -= 2;
        let fifth = self.place(side, 192, [0, 0]);
        self.convolve("conv2d_4a", fourth, fifth, [3, 3]).valid();
        let stream = self.stream(halved(side), 256);
        self.convolve("conv2d_4b", fifth, stream, [3, 3]).halve();
        stream
    }

    /// A residual block of two branches, the second with two kernels of `length` along x and y.
    fn block(
        &mut self,
        name: &str,
        stream: Place,
        channels: usize,
        length: usize,
        relu: bool,
    ) -> Place {
        let side = self.side(stream);
        let along_x = self.batched_place(side, channels, [0, length / 2]);
        let along_y = self.batched_place(side, channels, [length / 2, 0]);
        let join = self.batched_place(side, 2 * channels, [0, 0]);
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

    fn side(&self, place: Place) -> usize {
        self.network.buffers[place.buffer].height
    }

    fn buffer(&mut self, side: usize, channels: usize, margin: [usize; 2]) -> usize {
        self.find_or_add(
            Buffer {
                height: side,
                width: side,
                channels,
                margin,
                batched: false,
                is_stream: false,
            },
            false,
        )
    }

    fn find_or_add(&mut self, buffer: Buffer, shared: bool) -> usize {
        let buffers = &mut self.network.buffers;
        let same = buffers.iter().position(|other| shared && *other == buffer);
        same.unwrap_or_else(|| {
            buffers.push(buffer);
            buffers.len() - 1
        })
    }

    fn value(&mut self, buffer: usize) -> Place {
        self.network.values += 1;
        Place {
            buffer,
            value: self.network.values - 1,
        }
    }

    /// A buffer that holds one image at a time.
    fn place(&mut self, side: usize, channels: usize, margin: [usize; 2]) -> Place {
        let buffer = self.buffer(side, channels, margin);
        self.value(buffer)
    }

    /// A buffer that holds a batch; blocks of the same shape share it.
    fn batched_place(&mut self, side: usize, channels: usize, margin: [usize; 2]) -> Place {
        let buffer = Buffer {
            height: side,
            width: side,
            channels,
            margin,
            batched: true,
            is_stream: false,
        };
        let buffer = self.find_or_add(buffer, true);
        self.value(buffer)
    }

    fn stream(&mut self, side: usize, channels: usize) -> Place {
        let buffer = Buffer {
            height: side,
            width: side,
            channels,
            margin: [0, 0],
            batched: true,
            is_stream: true,
        };
        let buffer = self.find_or_add(buffer, false);
        self.value(buffer)
    }

    fn convolve(
        &mut self,
        name: impl Into<String>,
        input: Place,
        output: Place,
        kernel: [usize; 2],
    ) -> &mut Convolution {
        let channels = |place: Place| self.network.buffers[place.buffer].channels;
        let convolution = Convolution {
            name: name.into(),
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

    /// Adds what a block's last convolution makes of `join` to the stream.
    fn add(&mut self, name: String, join: Place, stream: Place) -> Place {
        let sum = self.value(stream.buffer);
        self.convolve(name, join, sum, [1, 1]).accumulate = true;
        sum
    }

    fn pool(&mut self, input: Place, output: Place, channel: usize) {
        self.network.steps.push(Step::MaxPool {
            input,
            output,
            channel,
        });
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

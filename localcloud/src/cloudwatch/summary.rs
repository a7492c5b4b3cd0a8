//! Statistics of values. Percentiles come from a histogram of bounded size, within 1 % of the exact value.

/// Neighboring classes of the histogram differ by this factor.
const RATIO: f64 = 1.02;
/// The most classes; a value beyond them counts in the nearest class.
const MAX_CLASSES: usize = 64;
/// The class of zero, which has no logarithm.
const ZERO: i32 = i32::MIN;

/// What is known of several values.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub count: f64,
    pub sum: f64,
    pub minimum: f64,
    pub maximum: f64,
    /// Counts by class, in order. Empty if a value is negative or only statistics are known: there are no percentiles then.
    classes: Vec<(i32, f32)>,
}

/// A statistic that calls can ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    Average,
    Maximum,
    Minimum,
    SampleCount,
    Sum,
    /// From 0 to 100.
    Percentile(f64),
}

impl Summary {
    /// Returns the summary of one value that occurs `count` times.
    pub fn of(value: f64, count: f64) -> Self {
        let class = class_of(value).map(|class| (class, count as f32));
        Self {
            count,
            sum: value * count,
            minimum: value,
            maximum: value,
            classes: class.into_iter().collect(),
        }
    }

    /// Returns the summary of values of which only the statistics are known.
    pub fn of_statistics(count: f64, sum: f64, minimum: f64, maximum: f64) -> Self {
        let is_one_value = minimum == maximum;
        Self {
            sum,
            classes: match is_one_value {
                true => Self::of(minimum, count).classes,
                false => Vec::new(),
            },
            count,
            minimum,
            maximum,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
        if self.classes.is_empty() || other.classes.is_empty() {
            self.classes = Vec::new();
            return;
        }
        for (class, count) in &other.classes {
            self.count_in_class(*class, *count);
        }
    }

    fn count_in_class(&mut self, class: i32, count: f32) {
        let at = match self
            .classes
            .binary_search_by_key(&class, |(class, _)| *class)
        {
            Ok(at) => at,
            Err(at) if self.classes.len() < MAX_CLASSES => {
                self.classes.insert(at, (class, 0.0));
                at
            }
            Err(at) => at.min(MAX_CLASSES - 1),
        };
        self.classes[at].1 += count;
    }

    /// Returns a statistic, or `None` for a percentile that is not known.
    pub fn statistic(&self, statistic: Statistic) -> Option<f64> {
        Some(match statistic {
            Statistic::Average => self.sum / self.count,
            Statistic::Maximum => self.maximum,
            Statistic::Minimum => self.minimum,
            Statistic::SampleCount => self.count,
            Statistic::Sum => self.sum,
            Statistic::Percentile(percent) => return self.percentile(percent),
        })
    }

    fn percentile(&self, percent: f64) -> Option<f64> {
        let wanted = self.count * percent / 100.0;
        let mut passed = 0.0;
        let (class, _) = self.classes.iter().find(|(_, count)| {
            passed += f64::from(*count);
            passed >= wanted
        })?;
        if percent <= 0.0 {
            return Some(self.minimum);
        }
        if percent >= 100.0 {
            return Some(self.maximum);
        }
        Some(value_of(*class).clamp(self.minimum, self.maximum))
    }
}

impl Statistic {
    /// Reads a name such as `Sum` or `p99.9`.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "Average" => Self::Average,
            "Maximum" => Self::Maximum,
            "Minimum" => Self::Minimum,
            "SampleCount" => Self::SampleCount,
            "Sum" => Self::Sum,
            _ => {
                let digits = name.strip_prefix('p')?;
                let is_number = digits.starts_with(|first: char| first.is_ascii_digit())
                    && digits.chars().all(|it| it.is_ascii_digit() || it == '.');
                let percent: f64 = digits.parse().ok().filter(|_| is_number)?;
                (percent <= 100.0).then_some(Self::Percentile(percent))?
            }
        })
    }
}

fn class_of(value: f64) -> Option<i32> {
    match value {
        0.0 => Some(ZERO),
        value if value > 0.0 => Some((value.ln() / RATIO.ln()).round() as i32),
        _ => None,
    }
}

fn value_of(class: i32) -> f64 {
    match class {
        ZERO => 0.0,
        class => RATIO.powi(class),
    }
}

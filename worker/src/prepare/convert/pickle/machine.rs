//! The pickle machine of Python's `pickletools.py`: the opcodes that `torch.save` writes in protocols 2 to 5.

use std::collections::HashMap;

use super::globals;
use super::reader::Reader;
use super::{Global, MAX_STEPS, Objects, Pickle, PickleError, Value, opcode_name};

const SET: Value<'_> = Value::Other("a set");

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PickleError> {
        Machine::new(bytes).run()
    }
}

#[derive(Debug)]
struct Machine<'a> {
    input: Reader<'a>,
    length: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at which a tuple or a run of elements begins.
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'a>>,
    objects: Objects<'a>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            input: Reader::new(bytes),
            length: bytes.len(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            objects: Objects::default(),
        }
    }

    fn run(mut self) -> Result<Pickle<'a>, PickleError> {
        for _ in 0..MAX_STEPS {
            match self.input.byte()? {
                b'.' => {
                    let root = self.pop()?;
                    return Ok(Pickle {
                        root,
                        objects: self.objects,
                        length: self.length - self.input.rest().len(),
                    });
                }
                opcode => self.step(opcode)?,
            }
        }
        Err(PickleError::TooLong)
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            0x80 => match self.input.byte()? {
                2..=5 => Ok(()),
                found => Err(PickleError::Protocol { found }),
            },
            // A frame says how much to read ahead; all bytes are in memory already.
            0x95 => match self.input.number::<8>()? {
                length if length <= self.input.rest().len() => Ok(()),
                _ => Err(PickleError::Truncated),
            },
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => {
                let value = self.input.byte()?;
                self.push(Value::Integer(value.into()))
            }
            b'M' => {
                let value = u16::from_le_bytes(self.input.array()?);
                self.push(Value::Integer(value.into()))
            }
            b'J' => {
                let value = i32::from_le_bytes(self.input.array()?);
                self.push(Value::Integer(value.into()))
            }
            0x8a => self.long::<1>(),
            0x8b => self.long::<4>(),
            b'G' => {
                self.input.take(8)?;
                self.push(Value::Other("a float"))
            }
            0x8c => self.text::<1>(),
            b'X' => self.text::<4>(),
            0x8d => self.text::<8>(),
            b'C' => self.skip::<1>("bytes"),
            b'B' => self.skip::<4>("bytes"),
            0x8e => self.skip::<8>("bytes"),
            0x96 => self.skip::<8>("a bytearray"),
            b')' => self.tuple(0),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84)),
            b't' => {
                let elements = self.pop_to_mark()?;
                let number = self.objects.container(elements);
                self.push(Value::Tuple(number))
            }
            b']' => {
                let number = self.objects.container(Vec::new());
                self.push(Value::List(number))
            }
            b'}' => {
                let number = self.objects.container(Vec::new());
                self.push(Value::Dict(number))
            }
            b'a' => {
                let element = self.pop()?;
                self.append(&[element])
            }
            b'e' => {
                let elements = self.pop_to_mark()?;
                self.append(&elements)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])
            }
            b'u' => {
                let entries = self.pop_to_mark()?;
                self.set(&entries)
            }
            0x8f => self.push(SET),
            0x90 => {
                self.pop_to_mark()?;
                self.expect_top("set", |top| top == SET)
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Other("a frozenset"))
            }
            b'q' => self.remember::<1>(),
            b'r' => self.remember::<4>(),
            0x94 => self.memorize(self.memo.len()),
            b'h' => self.recall::<1>(),
            b'j' => self.recall::<4>(),
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.global(module, name)
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.global(module, name),
                _ => Err(damaged("name")),
            },
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)
            }
            // Keyword arguments come last. No class in `globals` takes any.
            0x92 => {
                let (_keywords, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, arguments)
            }
            b'Q' => {
                let identifier = self.pop()?;
                let storage = globals::persistent(&mut self.objects, identifier)?;
                self.push(storage)
            }
            // Attributes, which are not needed: the version numbers of a state dict, or a plain object's.
            b'b' => {
                self.pop()?;
                let has_attributes = |top| matches!(top, Value::Dict(_) | Value::Other(_));
                self.expect_top("object with attributes", has_attributes)
            }
            opcode => Err(PickleError::Opcode {
                opcode,
                name: opcode_name(opcode),
            }),
        }
    }

    fn text<const N: usize>(&mut self) -> Result<(), PickleError> {
        let text = std::str::from_utf8(self.input.counted::<N>()?);
        self.push(Value::Text(text.map_err(|_| damaged("text"))?))
    }

    fn skip<const N: usize>(&mut self, kind: &'static str) -> Result<(), PickleError> {
        self.input.counted::<N>()?;
        self.push(Value::Other(kind))
    }

    /// Reads an integer in two's complement. One of more than 8 bytes, such as a random seed, is no tensor's size.
    fn long<const N: usize>(&mut self) -> Result<(), PickleError> {
        let bytes = self.input.counted::<N>()?;
        let sign = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut extended = [if sign { 0xff } else { 0 }; size_of::<i64>()];
        self.push(match extended.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Integer(i64::from_le_bytes(extended))
            }
            None => Value::Other("an int of more than 64 bits"),
        })
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), PickleError> {
        let global = Global::find(module, name);
        let global = global.ok_or_else(|| globals::refusal(module, name, self.input.rest()));
        self.push(Value::Global(global?))
    }

    fn call(&mut self, function: Value<'a>, arguments: Value<'a>) -> Result<(), PickleError> {
        let made = globals::call(&mut self.objects, function, arguments)?;
        self.push(made)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), PickleError> {
        self.stack.push(value);
        Ok(())
    }

    /// Returns the topmost value above the last mark.
    fn top(&self) -> Result<Value<'a>, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = self.stack.get(floor..).unwrap_or_default();
        above.last().copied().ok_or(damaged("stack"))
    }

    fn expect_top(
        &self,
        what: &'static str,
        fits: impl Fn(Value<'a>) -> bool,
    ) -> Result<(), PickleError> {
        let top = self.top()?;
        fits(top).then_some(()).ok_or(damaged(what))
    }

    fn pop(&mut self) -> Result<Value<'a>, PickleError> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, PickleError> {
        let mark = self.marks.pop().ok_or(damaged("stack"))?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, length: usize) -> Result<(), PickleError> {
        let mut elements = (0..length)
            .map(|_| self.pop())
            .collect::<Result<Vec<_>, _>>()?;
        elements.reverse();
        let number = self.objects.container(elements);
        self.push(Value::Tuple(number))
    }

    fn append(&mut self, elements: &[Value<'a>]) -> Result<(), PickleError> {
        let Value::List(number) = self.top()? else {
            return Err(damaged("list"));
        };
        self.objects.containers[number].extend_from_slice(elements);
        Ok(())
    }

    fn set(&mut self, entries: &[Value<'a>]) -> Result<(), PickleError> {
        let Value::Dict(number) = self.top()? else {
            return Err(damaged("dict"));
        };
        if !entries.len().is_multiple_of(2) {
            return Err(damaged("dict"));
        }
        self.objects.containers[number].extend_from_slice(entries);
        Ok(())
    }

    fn remember<const N: usize>(&mut self) -> Result<(), PickleError> {
        let key = self.input.number::<N>()?;
        self.memorize(key)
    }

    fn memorize(&mut self, key: usize) -> Result<(), PickleError> {
        let value = self.top()?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall<const N: usize>(&mut self) -> Result<(), PickleError> {
        let key = self.input.number::<N>()?;
        let value = self.memo.get(&key).copied();
        self.push(value.ok_or(damaged("reference"))?)
    }
}

fn damaged(what: &'static str) -> PickleError {
    PickleError::Damaged { what }
}

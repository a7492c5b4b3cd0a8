//! The stack machine of Python's `pickletools.py`, as far as `torch.save` uses it.

use std::collections::HashMap;

use super::globals::{self, Global};
use super::{MAX_STEPS, Objects, Pickle, PickleError, Value};

const PROTOCOL: u8 = 2;

#[derive(Debug)]
pub struct Machine<'a> {
    rest: &'a [u8],
    length: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at which a tuple or a run of elements begins.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Objects<'a>,
}

impl<'a> Machine<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            objects: Objects::default(),
        }
    }

    pub fn run(mut self) -> Result<Pickle<'a>, PickleError> {
        for _ in 0..MAX_STEPS {
            match self.byte()? {
                b'.' => {
                    let root = self.pop()?;
                    return Ok(Pickle {
                        root,
                        objects: self.objects,
                        length: self.length - self.rest.len(),
                    });
                }
                opcode => self.step(opcode)?,
            }
        }
        Err(PickleError::TooLong)
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            0x80 => match self.byte()? {
                PROTOCOL => Ok(()),
                _ => Err(damaged("protocol number (only 2 is read)")),
            },
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => {
                let value = self.byte()?;
                self.push(Value::Integer(value.into()))
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Integer(value.into()))
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Integer(value.into()))
            }
            0x8a => self.long(),
            b'G' => {
                self.take(8)?;
                self.push(Value::Real)
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                let bytes = self.take(length as usize)?;
                let text = std::str::from_utf8(bytes).map_err(|_| damaged("text"))?;
                self.push(Value::Text(text))
            }
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
            b'q' => {
                let key = self.byte()?;
                self.remember(key.into())
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)
            }
            b'h' => {
                let key = self.byte()?;
                self.recall(key.into())
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(Global::find(module, name)?))
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = globals::call(&mut self.objects, function, arguments)?;
                self.push(made)
            }
            b'Q' => {
                let identifier = self.pop()?;
                let storage = globals::persistent(&mut self.objects, identifier)?;
                self.push(storage)
            }
            // The attributes of an OrderedDict: a state dict's version numbers, which nothing here needs.
            b'b' => {
                self.pop()?;
                match self.top()? {
                    Value::Dict(_) => Ok(()),
                    _ => Err(damaged("object with attributes")),
                }
            }
            opcode => Err(PickleError::Opcode { opcode }),
        }
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or(PickleError::Truncated)?)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| damaged("name"))
    }

    /// An integer of up to 8 bytes in two's complement.
    fn long(&mut self) -> Result<(), PickleError> {
        let length = self.byte()?;
        let bytes = self.take(length.into())?;
        if bytes.len() > size_of::<i64>() {
            return Err(damaged("integer"));
        }
        let sign = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut extended = [if sign { 0xff } else { 0 }; size_of::<i64>()];
        extended[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Integer(i64::from_le_bytes(extended)))
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), PickleError> {
        self.stack.push(value);
        Ok(())
    }

    /// The topmost value above the last mark.
    fn top(&self) -> Result<Value<'a>, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = self.stack.get(floor..).unwrap_or_default();
        above.last().copied().ok_or(damaged("stack"))
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

    fn remember(&mut self, key: u32) -> Result<(), PickleError> {
        let value = self.top()?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), PickleError> {
        let value = self.memo.get(&key).copied();
        self.push(value.ok_or(damaged("reference"))?)
    }
}

fn damaged(what: &'static str) -> PickleError {
    PickleError::Damaged { what }
}

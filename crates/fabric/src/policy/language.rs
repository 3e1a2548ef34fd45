//! Fabric's language for signature policies, such as `OR('AcmeMSP.admin', AND('HubMSP.peer', 'GlobexMSP.peer'))`.
//!
//! Fabric hands the text to a general expression evaluator, three times over, and each pass prints text that the
//! next one reads (`common/policydsl/policyparser.go`). What it accepts follows from that, and so does the numbering
//! of the principals: an inner call is evaluated, and its principals are numbered, before the strings of the call
//! around it; equal principals are not merged. Chaincode approvals and BFT channels compare policies byte by byte, so
//! this module makes the same passes. Of the evaluator it knows calls, strings, numbers, `+`, `-`, `*` and
//! parentheses; anything else that the evaluator could do (conditionals, arrays, pipes) is refused.

use super::{Principal, Role, SignaturePolicy, SignatureRule};

/// Longest policy text that is read, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Deepest nesting of calls and parentheses.
const MAX_DEPTH: usize = 64;

/// Why a text is not a signature policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicySyntaxError {
    /// The text is longer than what is read.
    #[error("the policy is {length} bytes long; the limit is {MAX_TEXT}")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// Calls are nested too deeply.
    #[error("the policy nests more than {MAX_DEPTH} calls; flatten it")]
    TooDeep,
    /// Something stands where it cannot.
    #[error("unexpected {found} at byte {at} of `{text}`; write calls such as OR('AcmeMSP.admin', 'AcmeMSP.peer')")]
    Unexpected {
        /// What was found.
        found: String,
        /// Offset in `text`.
        at: usize,
        /// The text that was being read; a later pass reads a rewritten text.
        text: String,
    },
    /// A name that the language does not have.
    #[error("unknown name `{name}`; calls are AND, OR and OutOf, and principals are quoted, as 'AcmeMSP.member'")]
    UnknownName {
        /// The name.
        name: String,
    },
    /// A call with too few arguments.
    #[error("a call has no principal; name at least one")]
    NoArguments,
    /// A value of the wrong kind stands as an argument.
    #[error("{found} cannot be an argument here; principals are quoted, as 'AcmeMSP.member'")]
    WrongArgument {
        /// The kind of value.
        found: &'static str,
    },
    /// More signatures are demanded than there are principals, or less than none.
    #[error("{required} of {count} cannot be; the first argument of OutOf is 0 to {}", count + 1)]
    WrongCount {
        /// How many are demanded.
        required: i64,
        /// How many there are.
        count: usize,
    },
    /// The text is an expression, but not a call.
    #[error("`{text}` is not a policy; write a call such as OR('AcmeMSP.member')")]
    NotAPolicy {
        /// The text.
        text: String,
    },
}

/// Reads a policy as Fabric does.
pub(super) fn parse(text: &str) -> Result<SignaturePolicy, PolicySyntaxError> {
    if text.len() > MAX_TEXT {
        return Err(PolicySyntaxError::TooLong { length: text.len() });
    }
    let not_a_policy = || PolicySyntaxError::NotAPolicy { text: text.to_owned() };
    let Value::Text(gates) = evaluate(text, &mut Gates)? else {
        return Err(not_a_policy());
    };
    let Value::Text(numbered) = evaluate(&gates, &mut Plain)? else {
        return Err(not_a_policy());
    };
    let mut tree = Tree { identities: Vec::new() };
    let Value::Rule(rule) = evaluate(&numbered, &mut tree)? else {
        return Err(not_a_policy());
    };
    Ok(SignaturePolicy { rule, identities: tree.identities })
}

/// A value of the expression language.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Int(i64),
    Float(f64),
    Text(String),
    Rule(SignatureRule),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Rule(_) => "a call",
        }
    }
}

/// What calls mean in one of the passes.
trait Pass {
    fn call(&mut self, name: &str, arguments: Vec<Value>) -> Result<Value, PolicySyntaxError>;
}

/// First pass: AND and OR become `outof`.
struct Gates;

impl Pass for Gates {
    fn call(&mut self, name: &str, mut arguments: Vec<Value>) -> Result<Value, PolicySyntaxError> {
        match name {
            "And" | "AND" => {
                let all = i64::try_from(arguments.len()).unwrap_or(i64::MAX);
                arguments.insert(0, Value::Int(all));
            }
            "Or" | "OR" => arguments.insert(0, Value::Int(1)),
            "OutOf" | "OUTOF" | "outof" => {}
            _ => return Err(unknown(name)),
        }
        let [required, principals @ ..] = arguments.as_slice() else {
            return Err(PolicySyntaxError::NoArguments);
        };
        if principals.is_empty() {
            return Err(PolicySyntaxError::NoArguments);
        }
        let mut words = vec![match required {
            Value::Text(text) => text.clone(),
            number => print(number)?,
        }];
        for principal in principals {
            let Value::Text(_) = principal else {
                return Err(PolicySyntaxError::WrongArgument { found: principal.kind() });
            };
            words.push(print(principal)?);
        }
        Ok(Value::Text(format!("outof({})", words.join(", "))))
    }
}

/// Second pass: only prints again, which unwraps one more level of quotes.
struct Plain;

impl Pass for Plain {
    fn call(&mut self, name: &str, arguments: Vec<Value>) -> Result<Value, PolicySyntaxError> {
        if name != "outof" {
            return Err(unknown(name));
        }
        let words = arguments.iter().map(print).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::Text(format!("outof({})", words.join(", "))))
    }
}

/// Third pass: builds the tree and numbers the principals.
struct Tree {
    identities: Vec<Principal>,
}

impl Pass for Tree {
    fn call(&mut self, name: &str, arguments: Vec<Value>) -> Result<Value, PolicySyntaxError> {
        if name != "outof" {
            return Err(unknown(name));
        }
        let mut arguments = arguments.into_iter();
        let required = match arguments.next() {
            Some(Value::Int(number)) => number,
            Some(Value::Float(number)) => truncate(number),
            Some(other) => return Err(PolicySyntaxError::WrongArgument { found: other.kind() }),
            None => return Err(PolicySyntaxError::NoArguments),
        };
        let count = arguments.len();
        if count == 0 {
            return Err(PolicySyntaxError::NoArguments);
        }
        let n = i32::try_from(required)
            .ok()
            .filter(|n| usize::try_from(*n).is_ok_and(|n| n <= count + 1))
            .ok_or(PolicySyntaxError::WrongCount { required, count })?;
        let mut rules = Vec::with_capacity(count);
        for argument in arguments {
            rules.push(match argument {
                Value::Rule(rule) => rule,
                Value::Text(text) => self.principal(&text)?,
                Value::Int(_) | Value::Float(_) => {
                    return Err(PolicySyntaxError::WrongArgument { found: "a number" });
                }
            });
        }
        Ok(Value::Rule(SignatureRule::OutOf { n, rules }))
    }
}

impl Tree {
    fn principal(&mut self, text: &str) -> Result<SignatureRule, PolicySyntaxError> {
        let (msp_id, role) = principal(text).ok_or_else(|| unknown(text))?;
        let index = i32::try_from(self.identities.len()).map_err(|_| PolicySyntaxError::TooDeep)?;
        self.identities.push(Principal::role(msp_id, role));
        Ok(SignatureRule::SignedBy(index))
    }
}

fn unknown(name: &str) -> PolicySyntaxError {
    PolicySyntaxError::UnknownName { name: name.to_owned() }
}

/// Splits `AcmeMSP.admin`. MSP IDs have letters, digits, `.` and `-` here; roles are in lower case.
pub(super) fn principal(text: &str) -> Option<(&str, Role)> {
    let (msp_id, role) = text.rsplit_once('.')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    (!msp_id.is_empty() && msp_id.bytes().all(legal)).then_some(())?;
    Some((msp_id, Role::from_name(role)?))
}

/// Prints a value for the next pass: a principal keeps its quotes, any other string loses them.
fn print(value: &Value) -> Result<String, PolicySyntaxError> {
    match value {
        Value::Int(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(truncate(*number).to_string()),
        Value::Text(text) if principal(text).is_some() => Ok(format!("'{text}'")),
        Value::Text(text) => Ok(text.clone()),
        Value::Rule(_) => Err(PolicySyntaxError::WrongArgument { found: "a call" }),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "Fabric truncates, and a saturated number is refused by its range")]
fn truncate(number: f64) -> i64 {
    number as i64
}

fn evaluate(text: &str, pass: &mut dyn Pass) -> Result<Value, PolicySyntaxError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.sum(pass)?;
    reader.blank();
    if reader.at < text.len() {
        return Err(reader.unexpected());
    }
    Ok(value)
}

/// Reads and evaluates one expression; `at` never leaves a character boundary.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blank(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Takes `symbol` if it is next, after blanks.
    fn take(&mut self, symbol: char) -> bool {
        self.blank();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len_utf8();
        }
        found
    }

    fn unexpected(&self) -> PolicySyntaxError {
        let found = match self.rest().chars().next() {
            Some(found) => format!("`{found}`"),
            None => "end".to_owned(),
        };
        PolicySyntaxError::Unexpected { found, at: self.at, text: self.text.to_owned() }
    }

    fn sum(&mut self, pass: &mut dyn Pass) -> Result<Value, PolicySyntaxError> {
        let mut value = self.product(pass)?;
        loop {
            if self.take('+') {
                let right = self.product(pass)?;
                value = match (value, right) {
                    (Value::Text(left), Value::Text(right)) => Value::Text(left + &right),
                    (left, right) => self.number(&left, &right, i64::checked_add, |a, b| a + b)?,
                };
            } else if self.take('-') {
                let right = self.product(pass)?;
                value = self.number(&value, &right, i64::checked_sub, |a, b| a - b)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self, pass: &mut dyn Pass) -> Result<Value, PolicySyntaxError> {
        let mut value = self.unary(pass)?;
        while self.take('*') {
            let right = self.unary(pass)?;
            value = self.number(&value, &right, i64::checked_mul, |a, b| a * b)?;
        }
        Ok(value)
    }

    fn number(
        &self,
        left: &Value,
        right: &Value,
        ints: fn(i64, i64) -> Option<i64>,
        floats: fn(f64, f64) -> f64,
    ) -> Result<Value, PolicySyntaxError> {
        #[expect(clippy::cast_precision_loss, reason = "the evaluator mixes the two in the same way")]
        let float = |value: &Value| match value {
            Value::Int(number) => Ok(*number as f64),
            Value::Float(number) => Ok(*number),
            other => Err(PolicySyntaxError::WrongArgument { found: other.kind() }),
        };
        match (left, right) {
            (Value::Int(left), Value::Int(right)) => {
                ints(*left, *right).map(Value::Int).ok_or_else(|| self.unexpected())
            }
            _ => Ok(Value::Float(floats(float(left)?, float(right)?))),
        }
    }

    fn unary(&mut self, pass: &mut dyn Pass) -> Result<Value, PolicySyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(PolicySyntaxError::TooDeep);
        }
        let value = if self.take('-') {
            let value = self.unary(pass)?;
            self.number(&Value::Int(0), &value, i64::checked_sub, |a, b| a - b)?
        } else if self.take('+') {
            let value = self.unary(pass)?;
            self.number(&Value::Int(0), &value, i64::checked_add, |a, b| a + b)?
        } else if self.take('(') {
            let value = self.sum(pass)?;
            if !self.take(')') {
                return Err(self.unexpected());
            }
            value
        } else {
            self.atom(pass)?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn atom(&mut self, pass: &mut dyn Pass) -> Result<Value, PolicySyntaxError> {
        self.blank();
        match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => self.string(quote),
            Some(digit) if digit.is_ascii_digit() => self.digits(),
            Some(letter) if letter.is_alphabetic() || letter == '_' => self.name(pass),
            _ => Err(self.unexpected()),
        }
    }

    fn string(&mut self, quote: char) -> Result<Value, PolicySyntaxError> {
        let inside = self.rest().get(1..).unwrap_or_default();
        let mut text = String::new();
        let mut characters = inside.char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some((_, escaped @ ('\\' | '\'' | '"'))) => text.push(escaped),
                    _ => break,
                },
                '\n' | '\r' => break,
                _ if character == quote => {
                    self.at += 1 + offset + 1;
                    return Ok(Value::Text(text));
                }
                _ => text.push(character),
            }
        }
        Err(self.unexpected())
    }

    fn digits(&mut self) -> Result<Value, PolicySyntaxError> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default();
        let value = if word.bytes().all(|byte| byte.is_ascii_digit()) {
            word.parse().map(Value::Int).ok()
        } else if word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            word.parse().map(Value::Float).ok()
        } else {
            None
        };
        let value = value.ok_or_else(|| self.unexpected())?;
        self.at += length;
        Ok(value)
    }

    fn name(&mut self, pass: &mut dyn Pass) -> Result<Value, PolicySyntaxError> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default();
        self.at += length;
        if !self.take('(') {
            return Err(unknown(name));
        }
        let mut arguments = Vec::new();
        while !self.take(')') {
            arguments.push(self.sum(pass)?);
            if !self.take(',') {
                if self.take(')') {
                    break;
                }
                return Err(self.unexpected());
            }
        }
        pass.call(name, arguments)
    }
}

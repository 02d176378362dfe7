//! Conditions (CEL) over `before`, `after`, `op` and `source`.
//!
//! `before` and `after` hold, per column, what `value = "json"` would show, and are null where there is no
//! row; a column is converted when the expression asks for it and not before. Three-valued: what cannot be
//! evaluated (a missing or unavailable column, mixed types, null compared with anything but the word `null`)
//! is [`Truth::Undecidable`], never an error of the record. A row is looked up by column (`after.status`,
//! `after["order-id"]`, `has(after.note)`) and cannot be compared, counted or walked as a whole.
//!
//! The crate by itself answers `null == 'x'` and `1 == 'x'` with false, which is a guess; so `==`, `!=` and
//! `in` are taken over here, but for comparisons with the word `null`.

mod scope;

use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelBool;
use cel::{Context, ExecutionError, Program, Value};

use self::scope::Scope;
use super::handler::RowImage;

/// Longest text of a condition in bytes.
pub const CONDITION_BYTES_MAX: usize = 4_096;

/// Deepest nesting of a compiled condition (`a && b && …` counts with the logarithm of its length).
/// Evaluation recurses and takes about 45 KiB of stack a level in a debug build, so about 1 MiB at this
/// depth; a thread has 2 MiB unless it asks for more (see the test).
pub const CONDITION_DEPTH_MAX: usize = 24;

/// Stack of the thread that compiles. The parser gives up at 96 levels and takes about 150 KiB a level in a
/// debug build: 15 nested parentheses overflow a stack of 2 MiB and abort the process.
const COMPILE_STACK_BYTES: usize = 64 << 20;

/// The names that a condition may use.
const VARIABLES: [&str; 4] = ["before", "after", "op", "source"];

/// Stand-ins for the crate's operators; no source text can spell these names.
const SAME: &str = "@same";
const DIFFERENT: &str = "@different";
const AMONG: &str = "@among";

/// Building a context costs 15 µs, an inner scope of it 0.5 µs.
static ROOT: LazyLock<Context<'static, 'static>> = LazyLock::new(|| {
    let mut context = Context::default();
    let added = [
        context.add_function(SAME, |a: Value, b: Value| same(SAME, &a, &b)),
        context.add_function(DIFFERENT, |a: Value, b: Value| same(DIFFERENT, &a, &b).map(|same| !same)),
        context.add_function(AMONG, |item: Value, list: Value| among(&item, &list)),
    ];
    debug_assert!(added.iter().all(Result::is_ok), "no overload has these names");
    context
});

/// A compiled condition. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Condition {
    text: Arc<str>,
    expression: Arc<IdedExpr>,
}

/// What a condition says of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// Yes.
    True,
    /// No.
    False,
    /// It cannot be evaluated; why, without values.
    Undecidable(String),
}

/// What is wrong with a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ConditionError {
    /// What is wrong and what to do.
    pub problem: String,
}

impl Condition {
    /// Compiles one. Bounded in length ([`CONDITION_BYTES_MAX`]) and nesting ([`CONDITION_DEPTH_MAX`]).
    ///
    /// Errors: over a bound, not CEL, a name other than `before`, `after`, `op` and `source`, an unknown
    /// function, or a result that is no truth value whatever the row.
    pub fn compile(text: &str) -> Result<Condition, ConditionError> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(problem(format!("a condition holds at most {CONDITION_BYTES_MAX} bytes")));
        }
        let source = text.to_owned();
        // The parser recurses; what is too deep is also dropped there.
        let expression = std::thread::Builder::new()
            .name("condition".into())
            .stack_size(COMPILE_STACK_BYTES)
            .spawn(move || parse(&source))
            .map_err(|error| problem(format!("cannot start a thread to compile it: {}", error.kind())))?
            .join()
            .unwrap_or_else(|_| Err(problem("the CEL parser gave up on it")))?;
        Ok(Condition { text: text.into(), expression: Arc::new(expression) })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Evaluates it over the row's change.
    pub fn evaluate(&self, row: &RowImage<'_>) -> Truth {
        let scope = Scope::new(row);
        let mut context = ROOT.new_inner_scope();
        context.set_variable_resolver(&scope);
        let result = Value::resolve_val(&self.expression, &context);
        match result.as_ref().map(|value| value.downcast_ref::<CelBool>().map(|truth| *truth.inner())) {
            Ok(Some(true)) => Truth::True,
            Ok(Some(false)) => Truth::False,
            Ok(None) => Truth::Undecidable("the result is neither true nor false".into()),
            Err(error) => Truth::Undecidable(self.reason(error)),
        }
    }

    /// The error in words. Its own words may hold values, and so may the name of a key that was looked up by
    /// one; a name that stands in the condition's text is told.
    fn reason(&self, error: &ExecutionError) -> String {
        match error {
            ExecutionError::NoSuchKey(name) if self.text.contains(name.as_str()) => {
                format!("there is no {name}")
            }
            ExecutionError::NoSuchKey(_) => "a column is missing".into(),
            ExecutionError::FunctionError { function, message } if function == scope::COLUMN => {
                if self.text.contains(message.as_str()) {
                    format!("the event does not hold {message}")
                } else {
                    "the event does not hold a column".into()
                }
            }
            ExecutionError::NoSuchOverload(overload) => {
                let operator = match overload.function() {
                    SAME => "==",
                    DIFFERENT => "!=",
                    AMONG | operators::IN => "in",
                    other => other.trim_matches('_'),
                };
                format!("{operator} cannot be applied to {}", overload.argument_types().join(" and "))
            }
            ExecutionError::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
            _ => "it cannot be evaluated for this row".into(),
        }
    }
}

fn problem(problem: impl Into<String>) -> ConditionError {
    ConditionError { problem: problem.into() }
}

fn too_deep() -> ConditionError {
    problem(format!("a condition nests at most {CONDITION_DEPTH_MAX} deep"))
}

fn parse(text: &str) -> Result<IdedExpr, ConditionError> {
    let program = Program::compile(text).map_err(|errors| {
        let words: Vec<String> = errors
            .errors
            .iter()
            .map(|error| format!("{} at {}:{}", error.msg.trim(), error.pos.0, error.pos.1))
            .collect();
        problem(format!("not a CEL expression: {}", words.join("; ")))
    })?;
    let mut expression = program.expression().clone();
    take_over(&mut expression, 1, &mut Vec::new())?;
    Ok(expression)
}

/// Checks names and nesting, and puts the stand-ins in the place of the crate's operators. `bound` are the
/// names that macros around here have bound.
fn take_over(expression: &mut IdedExpr, depth: usize, bound: &mut Vec<String>) -> Result<(), ConditionError> {
    if depth > CONDITION_DEPTH_MAX {
        return Err(too_deep());
    }
    match &mut expression.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Unspecified => Err(problem("an expression is missing")),
        Expr::Struct(_) => Err(problem("a condition cannot make structs")),
        Expr::Ident(name) => check_name(name, bound),
        Expr::Select(select) => take_over(&mut select.operand, depth + 1, bound),
        Expr::List(list) => list.elements.iter_mut().try_for_each(|item| take_over(item, depth + 1, bound)),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => {
                take_over(&mut entry.key, depth + 1, bound)?;
                take_over(&mut entry.value, depth + 1, bound)
            }
            EntryExpr::StructField(_) => Err(problem("a condition cannot make structs")),
        }),
        Expr::Comprehension(fold) => {
            take_over(&mut fold.iter_range, depth + 1, bound)?;
            take_over(&mut fold.accu_init, depth + 1, bound)?;
            let before = bound.len();
            bound.extend([fold.iter_var.clone(), fold.accu_var.clone()]);
            bound.extend(fold.iter_var2.clone());
            let inner = [&mut fold.loop_cond, &mut fold.loop_step, &mut fold.result]
                .into_iter()
                .try_for_each(|part| take_over(part, depth + 1, bound));
            bound.truncate(before);
            inner
        }
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                take_over(target, depth + 1, bound)?;
            }
            for argument in &mut call.args {
                take_over(argument, depth + 1, bound)?;
            }
            let with_null =
                call.args.iter().any(|argument| matches!(argument.expr, Expr::Literal(LiteralValue::Null)));
            match call.func_name.as_str() {
                operators::EQUALS if !with_null => call.func_name = SAME.into(),
                operators::NOT_EQUALS if !with_null => call.func_name = DIFFERENT.into(),
                operators::IN => call.func_name = AMONG.into(),
                name if is_written_by_hand(name) => check_function(name, call.target.is_some())?,
                _ => {}
            }
            Ok(())
        }
    }
}

fn check_name(name: &str, bound: &[String]) -> Result<(), ConditionError> {
    if VARIABLES.contains(&name) || bound.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(problem(format!(
        "unknown name {name:?}; a condition knows before, after, op and source, and columns as after.{name}"
    )))
}

fn is_written_by_hand(function: &str) -> bool {
    function.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Asks the crate itself whether it knows a function: only an unknown one is undeclared whatever it is given.
fn check_function(name: &str, member: bool) -> Result<(), ConditionError> {
    let call = cel::common::ast::CallExpr {
        func_name: name.to_owned(),
        target: member.then(|| Box::new(IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) })),
        args: Vec::new(),
    };
    let probe = IdedExpr { id: 0, expr: Expr::Call(call) };
    match Value::resolve_val(&probe, &ROOT) {
        Err(ExecutionError::UndeclaredReference(_)) => {
            Err(problem(format!("there is no function {name:?} in conditions")))
        }
        _ => Ok(()),
    }
}

/// Equality, where both are of one kind; numbers are one kind.
fn same(operator: &str, a: &Value, b: &Value) -> Result<bool, ExecutionError> {
    let number = |value: &Value| matches!(value, Value::Int(_) | Value::UInt(_) | Value::Float(_));
    let alike = std::mem::discriminant(a) == std::mem::discriminant(b) || (number(a) && number(b));
    if alike { Ok(a == b) } else { Err(unlike(operator, a, b)) }
}

/// Membership: true where one item is the same; where none is but one cannot be compared, nothing is said.
fn among(item: &Value, list: &Value) -> Result<bool, ExecutionError> {
    match list {
        Value::List(items) => {
            let mut unknown = None;
            for other in items.iter() {
                match same(AMONG, item, other) {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    Err(error) => unknown = Some(error),
                }
            }
            unknown.map_or(Ok(false), Err)
        }
        Value::Map(map) => match item {
            Value::String(name) => Ok(map.map.contains_key(&cel::objects::Key::String(Arc::clone(name)))),
            _ => Err(unlike(AMONG, item, list)),
        },
        _ => Err(unlike(AMONG, item, list)),
    }
}

fn unlike(operator: &str, a: &Value, b: &Value) -> ExecutionError {
    ExecutionError::no_such_overload(operator, vec![a.type_of().to_string(), b.type_of().to_string()])
}

#[cfg(test)]
mod tests;

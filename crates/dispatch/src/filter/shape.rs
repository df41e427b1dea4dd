//! What can be said of an expression without an event: which fields of the body it speaks of, and how its work grows with
//! the body.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};

/// The most steps that loops may take over one event, about: seconds of one core.
const MOST_STEPS: usize = 10_000_000;

/// What a regular expression costs, in steps: it is compiled anew for each item.
const REGEX: usize = 100;

/// An expression, looked at.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The fields of the body that it speaks of; `None`: it speaks of the whole.
    pub fields: Option<BTreeSet<String>>,
    /// The names that `exists`, `map` and the like give to items.
    pub items: Vec<String>,
    /// Loops within each other that each may go through everything.
    loops: u32,
    regex: bool,
}

impl Shape {
    pub(super) fn of(expression: &IdedExpr) -> Self {
        let mut shape = Self {
            fields: Some(BTreeSet::new()),
            ..Self::default()
        };
        shape.loops = shape.look(&expression.expr);
        shape
    }

    /// Whether its loops get through a body whose longest list has so many items.
    pub(super) fn gets_through(&self, widest: usize) -> bool {
        let steps = widest.saturating_pow(self.loops);
        let each = if self.regex { REGEX } else { 1 };
        self.loops == 0 || steps.saturating_mul(each) <= MOST_STEPS
    }

    /// Whether it is so quick over so many bytes that nobody else need wait for it.
    pub(super) const fn is_quick(&self, bytes: usize) -> bool {
        match self.loops {
            0 | 1 if !self.regex => bytes <= 64 << 10,
            _ => bytes <= 2 << 10,
        }
    }

    /// Looks at a part, and says how many loops it has within each other.
    fn look(&mut self, part: &Expr) -> u32 {
        if let Some(field) = field_of_body(part) {
            if let Some(fields) = &mut self.fields {
                fields.insert(field.to_owned());
            }
            return 0;
        }
        match part {
            Expr::Ident(name) if name == "body" => {
                self.fields = None;
                0
            }
            Expr::Select(select) => self.look(&select.operand.expr),
            Expr::List(list) => self.deepest(list.elements.iter().map(|one| &one.expr)),
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(parts) => self.entries(parts.entries.iter().map(|entry| &entry.expr)),
            Expr::Call(call) => {
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                let within = self.deepest(parts.map(|part| &part.expr));
                let over = call.args.last().map(|last| &last.expr);
                let goes_through = match call.func_name.as_str() {
                    operators::IN => over.is_some_and(|list| !self.is_of_an_item(list)),
                    "contains" => over.is_some_and(|part| !matches!(part, Expr::Literal(_))),
                    "matches" => {
                        self.regex = true;
                        false
                    }
                    _ => false,
                };
                within.max(u32::from(goes_through))
            }
            Expr::Comprehension(over) => {
                let range = self.look(&over.iter_range.expr);
                // Through all lists that items have a loop comes once, however often it begins.
                let own = u32::from(!self.is_of_an_item(&over.iter_range.expr));
                self.items.push(over.iter_var.clone());
                self.items.extend(over.iter_var2.clone());
                self.items.push(over.accu_var.clone());
                let step = self.deepest([&over.loop_cond.expr, &over.loop_step.expr].into_iter());
                let once = self.deepest([&over.accu_init.expr, &over.result.expr].into_iter());
                range.max(once).max(own + step)
            }
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => 0,
        }
    }

    fn deepest<'e>(&mut self, parts: impl Iterator<Item = &'e Expr>) -> u32 {
        parts.map(|part| self.look(part)).max().unwrap_or(0)
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>) -> u32 {
        let of = |entry: &'e EntryExpr| match entry {
            EntryExpr::StructField(field) => [None, Some(&field.value.expr)],
            EntryExpr::MapEntry(entry) => [Some(&entry.key.expr), Some(&entry.value.expr)],
        };
        let parts: Vec<&Expr> = entries.flat_map(of).flatten().collect();
        self.deepest(parts.into_iter())
    }

    /// Whether it is a list of the expression's own, or of an item of a loop around it.
    fn is_of_an_item(&self, list: &Expr) -> bool {
        match list {
            Expr::List(_) | Expr::Literal(_) => true,
            Expr::Ident(name) => self.items.contains(name),
            Expr::Select(select) => self.is_of_an_item(&select.operand.expr),
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let list = call.args.first();
                list.is_some_and(|list| self.is_of_an_item(&list.expr))
            }
            _ => false,
        }
    }
}

/// `body.field` and `body["field"]`.
fn field_of_body(part: &Expr) -> Option<&str> {
    let (of, field) = match part {
        Expr::Select(select) => (&select.operand.expr, select.field.as_str()),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, index] = &*call.args else {
                return None;
            };
            let Expr::Literal(literal) = &index.expr else {
                return None;
            };
            let LiteralValue::String(field) = literal else {
                return None;
            };
            (&of.expr, field.inner())
        }
        _ => return None,
    };
    matches!(of, Expr::Ident(name) if name == "body").then_some(field)
}

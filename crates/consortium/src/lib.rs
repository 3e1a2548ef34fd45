//! The consortium definition: parse, validate, model, diff and plan, without effects.

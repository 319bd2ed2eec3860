//! `#[godwit::main]`; its documentation is where crate `godwit` exports it.

use proc_macro::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, parse_macro_input};

/// See `godwit::main`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = parse_macro_input!(item as ItemFn);
    let problem = if !arguments.is_empty() {
        Some("`#[godwit::main]` takes no arguments")
    } else if function.sig.asyncness.is_none() {
        Some("the program is an `async fn`")
    } else if function.sig.inputs.len() != 1 {
        Some("the program takes one argument: `system: godwit::System`")
    } else if !function.sig.generics.params.is_empty() {
        Some("the program has no generic parameters")
    } else {
        None
    };
    if let Some(problem) = problem {
        return Error::new(function.sig.span(), problem).to_compile_error().into();
    }
    function.sig.ident = Ident::new("__godwit_program", function.sig.ident.span());
    quote! {
        #function

        #[cfg(target_os = "none")]
        ::godwit::__program!(__godwit_program);

        #[cfg(not(target_os = "none"))]
        fn main() {
            ::godwit::__private::on_a_host(__godwit_program)
        }
    }
    .into()
}

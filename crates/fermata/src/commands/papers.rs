//! `fermata completions` and `fermata man`.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit;
use crate::out;

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fermata", &mut script);
    out::data(&String::from_utf8(script)?)?;
    Ok(exit::DONE)
}

pub(crate) fn man(folder: Option<&Path>) -> anyhow::Result<u8> {
    if let Some(folder) = folder {
        let cannot = || format!("cannot write manual pages to {}", folder.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        clap_mangen::generate_to(Cli::command(), folder).with_context(cannot)?;
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        out::data(&String::from_utf8(page)?)?;
    }
    Ok(exit::DONE)
}

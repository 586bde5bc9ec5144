//! What makes a shell complete flows, options and files. `cargo rehearse` is an alias of cargo's, and nothing in a shell
//! knows of those: the script that clap writes for the program `rehearse` is followed by a few lines that send the words
//! after `cargo rehearse` there, and leave every other word after `cargo` to whatever completed it before.

use clap::Command;

/// How to use what is printed.
pub(crate) const INSTALL: &str = "\
Put what it prints into a file that your shell reads, after what completes cargo itself:
  bash  cargo rehearse completions bash > ~/.cargo-rehearse.bash
        and in ~/.bashrc:  source ~/.cargo-rehearse.bash
  zsh   cargo rehearse completions zsh > ~/.cargo-rehearse.zsh
        and in ~/.zshrc, after compinit:  source ~/.cargo-rehearse.zsh
  fish  cargo rehearse completions fish > ~/.config/fish/conf.d/cargo-rehearse.fish

A new shell then completes `cargo rehearse <TAB>`: commands, options, and files after --input.
What your shell knows of cargo's own commands stays as it is. Do it again after an update.";

/// A shell that can be taught.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Zsh,
}

/// The script for `shell`, to be sourced.
pub(crate) fn script(shell: Shell, command: Command) -> String {
    let (generator, for_cargo) = match shell {
        Shell::Bash => (clap_complete::Shell::Bash, BASH),
        Shell::Fish => (clap_complete::Shell::Fish, FISH),
        Shell::Zsh => (clap_complete::Shell::Zsh, ZSH),
    };
    // Its name is that of the program: in a shell's script there is no room for the space in `cargo rehearse`.
    let mut script = Vec::new();
    clap_complete::generate(
        generator,
        &mut command.name("rehearse"),
        "rehearse",
        &mut script,
    );
    String::from_utf8_lossy(&script).into_owned() + for_cargo
}

/// What completes cargo otherwise may be there already, or be loaded by bash-completion when it is needed first
/// (`_comp_load` is that function's name since 2.12), which puts ours aside.
const BASH: &str = r#"
_cargo_rehearse() {
    local at=1
    while [[ ${COMP_WORDS[at]} == [-+]* ]]; do ((at += 1)); done
    if ((at < COMP_CWORD)) && [[ ${COMP_WORDS[at]} == rehearse ]]; then
        COMP_WORDS=("${COMP_WORDS[@]:at}")
        ((COMP_CWORD -= at))
        _rehearse rehearse "$2" "$3"
        return
    fi
    if [[ -z ${_cargo_before_rehearse+set} ]]; then
        _cargo_before_rehearse=
        { _comp_load cargo || _completion_loader cargo; } &>/dev/null
        _cargo_rehearse_goes_first
    fi
    if [[ -n $_cargo_before_rehearse ]]; then
        "$_cargo_before_rehearse" "$@"
    fi
    if ((at == COMP_CWORD)) && [[ -n $2 && rehearse == "$2"* && " ${COMPREPLY[*]} " != *" rehearse "* ]]; then
        COMPREPLY+=(rehearse)
    fi
}
_cargo_rehearse_goes_first() {
    if [[ $(complete -p cargo 2>/dev/null) =~ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _cargo_rehearse ]]; then
        _cargo_before_rehearse=${BASH_REMATCH[1]}
    fi
    complete -o bashdefault -o default -F _cargo_rehearse cargo
}
_cargo_rehearse_goes_first
"#;

/// cargo's own completion calls a function of this name for a command that it does not know.
const ZSH: &str = r#"
_cargo-rehearse() {
    words[1]=rehearse
    service=rehearse _rehearse "$@"
}
if (( ! ${+_comps[cargo]} )); then
    _cargo_with_rehearse() {
        if (( CURRENT > 2 )) && [[ $words[2] == rehearse ]]; then
            shift words
            (( CURRENT -= 1 ))
            _cargo-rehearse
        elif (( CURRENT == 2 )); then
            compadd rehearse
        else
            _default
        fi
    }
    compdef _cargo_with_rehearse cargo
fi
"#;

/// fish asks every line that is registered for a command.
const FISH: &str = r#"
function __fish_cargo_rehearse
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l line rehearse
    set --erase words[1..2]
    for word in $words
        set --append line (string escape -- $word)
    end
    complete --do-complete "$line "(commandline --cut-at-cursor --current-token)
end
complete --command cargo --condition '__fish_seen_subcommand_from rehearse' --no-files --arguments '(__fish_cargo_rehearse)'
complete --command cargo --condition __fish_use_subcommand --no-files --arguments rehearse --description 'Rehearse groundcrew on this machine'
"#;

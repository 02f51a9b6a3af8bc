using System.CommandLine;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm completion SHELL</c>: prints what a shell needs to complete vmm's commands, options and values.</summary>
internal static class CompletionCommand
{
    // Each script calls vmm itself (CompleteCommand), so that it never becomes outdated.

    // bash cuts words at = and : (COMP_WORDBREAKS): they are joined again, and the prefix is removed from the answers.
    private const string Bash = """
        _vmm() {
            local IFS=$'\n' current=${COMP_WORDS[COMP_CWORD]} joined=() glue= word found
            for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
                if [[ ${#joined[@]} -gt 0 && ( $glue || $word == [=:] ) ]]; then
                    joined[${#joined[@]}-1]+=$word
                else
                    joined+=("$word")
                fi
                glue=
                [[ $word == [=:] ]] && glue=1
            done
            [[ $current == [=:] ]] && current=
            local whole=${joined[${#joined[@]}-1]}
            local front=${whole%"$current"}
            COMPREPLY=()
            for found in $("${COMP_WORDS[0]}" complete -- "${joined[@]}" 2>/dev/null); do
                found=${found%%$'\t'*}
                COMPREPLY+=("${found#"$front"}")
            done
            [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
            return 0
        }
        complete -o default -F _vmm vmm

        """;

    private const string Zsh = """
        #compdef vmm
        _vmm() {
            local -a lines found described
            local line
            lines=("${(@f)$(${words[1]} complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
            for line in $lines; do
                found+=("${line%%$'\t'*}")
                described+=("${line/$'\t'/ -- }")
            done
            if (( ${#found} )); then
                compadd -l -d described -a found
            else
                _files
            fi
        }
        if [[ ${funcstack[1]-} == _vmm ]]; then
            _vmm "$@"
        else
            compdef _vmm vmm
        fi

        """;

    private const string Fish = """
        function __vmm_complete
            set -l words (commandline -opc) (commandline -ct)
            set -l found ($words[1] complete -- $words[2..] 2>/dev/null)
            if test (count $found) -gt 0
                printf '%s\n' $found
            else
                __fish_complete_path (commandline -ct)
            end
        end
        complete -c vmm -f -a '(__vmm_complete)'

        """;

    public static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = "bash, zsh or fish", HelpName = "bash|zsh|fish" };
        var command = new Command("completion", "Print shell completion: eval \"$(vmm completion bash)\"");
        command.Arguments.Add(shell);
        command.SetAction(result =>
        {
            string name = result.GetRequiredValue(shell);
            Stdout.Write(name switch
            {
                "bash" => Bash,
                "zsh" => Zsh,
                "fish" => Fish,
                _ => throw CommandLineCheck.Wrong(
                    command, $"SHELL {name}: no completion for it; there are bash, zsh and fish"),
            });
            return ExitCodes.Success;
        });
        return command;
    }
}

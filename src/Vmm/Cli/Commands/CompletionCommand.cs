using System.CommandLine;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm completion SHELL</c>: prints what a shell needs to complete vmm's commands and options.</summary>
internal static class CompletionCommand
{
    // Each asks vmm itself by System.CommandLine's directive [suggest:POSITION], so that the scripts never go stale.
    private const string Bash = """
        _vmm() {
            local IFS=$'\n'
            COMPREPLY=($(compgen -W "$(vmm "[suggest:$COMP_POINT]" "$COMP_LINE" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
        }
        complete -o default -F _vmm vmm

        """;

    private const string Zsh = """
        #compdef vmm
        _vmm() {
            local -a found
            found=("${(@f)$(vmm "[suggest:$CURSOR]" "$BUFFER" 2>/dev/null)}")
            compadd -a found || _files
        }
        compdef _vmm vmm

        """;

    private const string Fish = """
        complete -c vmm -a '(vmm "[suggest:"(commandline -C)"]" (commandline -cp) 2>/dev/null)'

        """;

    public static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = "bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        var command = new Command("completion", "Print shell completion: eval \"$(vmm completion bash)\"");
        command.Arguments.Add(shell);
        command.SetAction(result =>
        {
            Stdout.Write(result.GetRequiredValue(shell) switch
            {
                "bash" => Bash,
                "zsh" => Zsh,
                _ => Fish,
            });
            return ExitCodes.Success;
        });
        return command;
    }
}

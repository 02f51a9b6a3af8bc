using System.CommandLine;
using Vmm.Run;

namespace Vmm.Cli;

/// <summary>A command that does what <c>vmm run</c> does, and prints figures about the machine: vmm exits run, vmm boot-timeline
/// run.
/// </summary>
/// <param name="Description">For help.</param>
/// <param name="Options">Its own, besides those of vmm run.</param>
/// <param name="Open">Opens the files that they name, and those of --profile and --trace.</param>
internal sealed record RunFigures(string Description, IReadOnlyList<Option> Options, Func<ParseResult, RunOptions, MachineFigures> Open);

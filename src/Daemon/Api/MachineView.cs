using System.Text.Json.Serialization;
using Vmm.Named;

namespace Vmm.Daemon.Api;

/// <summary>A machine, as far as vmmd knows without asking it.</summary>
internal sealed record MachineView
{
    public required string Name { get; init; }

    public required MachineStateName State { get; init; }

    /// <summary>Whose it is: a user's number.</summary>
    public required uint Owner { get; init; }

    /// <summary>As it was given when the machine was made.</summary>
    public string? Kernel { get; init; }

    /// <summary>Bytes.</summary>
    public ulong? Memory { get; init; }

    public int? Cpus { get; init; }

    /// <summary>Of the vmm that runs it.</summary>
    public int? Pid { get; init; }

    /// <summary>Seconds since the guest's first instruction.</summary>
    public double? Uptime { get; init; }

    /// <summary>Whether vmm's agent answers in it: commands can be run then.</summary>
    public bool? Agent { get; init; }

    public DateTimeOffset? Created { get; init; }

    public DateTimeOffset? Started { get; init; }

    /// <summary>How its last start went: the steps, each when it was reached.</summary>
    public IReadOnlyList<StartStep>? Steps { get; init; }

    public DateTimeOffset? Ended { get; init; }

    /// <summary>What its vmm ended with.</summary>
    public int? ExitCode { get; init; }

    /// <summary>How it ended, for people.</summary>
    public string? Verdict { get; init; }

    /// <summary>What is wrong with it: why it does not answer, why its files cannot be read.</summary>
    public string? Fault { get; init; }
}

/// <summary>The runs of a machine, the last one first.</summary>
internal sealed record MachineRuns(IReadOnlyList<MachineRun> Runs);

internal sealed record MachineList(IReadOnlyList<MachineView> Machines);

/// <summary>Something that happened to a machine.</summary>
internal sealed record MachineEvent
{
    /// <summary>Counts from 1 since vmmd started.</summary>
    public required long Id { get; init; }

    public required DateTimeOffset Time { get; init; }

    public required string Machine { get; init; }

    /// <summary><c>appeared</c>, <c>state</c>, <c>complaint</c>, <c>ended</c>, <c>removed</c>.</summary>
    public required string Event { get; init; }

    public MachineStateName? State { get; init; }

    /// <summary>Of <c>complaint</c>, as KASAN; of <c>ended</c>, as powered-off.</summary>
    public string? Kind { get; init; }

    /// <summary>Of <c>complaint</c>: what the guest's kernel said. Of <c>ended</c>: how, for people.</summary>
    public string? Text { get; init; }

    /// <summary>Of <c>ended</c>: what its vmm exits with.</summary>
    public int? Code { get; init; }

    [JsonIgnore]
    public uint Owner { get; init; }
}

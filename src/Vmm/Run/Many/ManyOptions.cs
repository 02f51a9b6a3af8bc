using Vmm.Run.Many.Slurm;
using Vmm.Run.Results;

namespace Vmm.Run.Many;

/// <summary>The options of a call with more than one run.</summary>
internal sealed record ManyOptions
{
    public required IReadOnlyList<RunItem> Items { get; init; }

    /// <summary>Most machines at a time.</summary>
    public required int Parallel { get; init; }

    /// <summary>Was the number given by the user?</summary>
    public bool IsParallelGiven { get; init; }

    /// <summary>Where they run, if not on this host.</summary>
    public SlurmPlace? Place { get; init; }

    /// <summary>End all when one has failed.</summary>
    public bool FailFast { get; init; }

    /// <summary>Show the output of those that passed, too.</summary>
    public bool ShowAll { get; init; }

    /// <summary>I and N of <c>--shard I/N</c>, whose items these are; null where they are all.</summary>
    public (int Number, int Of)? Shard { get; init; }

    /// <summary>Files for all of them together; <see cref="RunReports.Log"/> and <see cref="RunReports.Bundle"/> are
    /// directories.</summary>
    public required RunReports Reports { get; init; }
}

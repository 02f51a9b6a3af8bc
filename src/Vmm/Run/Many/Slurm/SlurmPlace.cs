using Vmm.Host;
using Vmm.Text;

namespace Vmm.Run.Many.Slurm;

/// <summary><c>--on slurm[:PARTITION][,shards=N]</c>: a Slurm cluster to which this host can submit jobs.</summary>
/// <param name="Partition">Null: Slurm's default.</param>
/// <param name="Shards">How many tasks of the array job there are; null: one for each run, up to a thousand.</param>
internal sealed record SlurmPlace(string? Partition, int? Shards)
{
    /// <summary>MaxArraySize of slurm.conf(5) is 1001 if not set, which allows the indices up to 1000.</summary>
    public const int MostShards = 1000;

    public static IReadOnlyList<ManualRow> Parts =>
    [
        new("slurm[:PARTITION]", "one array job of a Slurm engine; its nodes see this directory, this vmm and the kernel under the same paths"),
        new("shards=N", $"so many tasks; if not given, one for each run, up to {MostShards}"),
    ];

    /// <exception cref="UsageException">It is something else.</exception>
    public static SlurmPlace Parse(string text)
    {
        List<string> parts = OptionText.Split(text);
        string[] place = parts[0].Split(':', 2);
        if (place[0] != "slurm" || (place.Length == 2 && (place[1].Length == 0 || place[1].StartsWith('-'))))
        {
            throw new UsageException($"--on {text}: takes slurm or slurm:PARTITION");
        }

        int? shards = null;
        foreach (string part in parts.Skip(1))
        {
            (string name, string? value) = OptionText.Parse(part);
            shards = name == "shards" && value is not null && OptionText.Number(value, 1, MostShards) is { } number
                ? (int)number
                : throw new UsageException($"--on {text}: '{part}': there is shards=N, from 1 to {MostShards}");
        }

        return new SlurmPlace(place.Length == 2 ? place[1] : null, shards);
    }
}

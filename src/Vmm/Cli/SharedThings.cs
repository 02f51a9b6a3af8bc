using Vmm.Host;
using Vmm.Run;

namespace Vmm.Cli;

/// <summary>Refuses options by which several runs at a time would use the same socket, output file, port, tap or terminal. The
/// names of such things must contain the item.</summary>
internal static class SharedThings
{
    private static readonly string[] Own =
        ["--vsock", "--control", "--keep", "--name", "--trace", "--profile", "--vhost-user-blk", "--vhost-user-net"];

    /// <param name="words">The options as given, before the item was inserted: <c>--keep=changes.qcow2</c>.</param>
    /// <param name="options">The options of one run.</param>
    /// <param name="isSeveral">There is more than one run.</param>
    /// <exception cref="UsageException">Two runs would use the same.</exception>
    public static void Check(IReadOnlyList<string> words, RunOptions options, bool isSeveral)
    {
        if (options.Terminal)
        {
            throw new UsageException("-t: many runs cannot have one terminal; leave it out");
        }

        foreach (string word in isSeveral ? words : [])
        {
            int equals = word.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0 || Run.Many.RunItems.HasPlace(word))
            {
                continue;
            }

            string name = word[..equals], value = word[(equals + 1)..];
            string? why = name switch
            {
                _ when Own.Contains(name) => "would be the same for every run",
                "--net" when value.Contains("tap=", StringComparison.Ordinal) => "one tap is for one machine",
                "--net" when value.Contains("socket=", StringComparison.Ordinal) => "one socket is for one machine",
                "--net" when value.Contains("publish=", StringComparison.Ordinal) => "one port leads into one machine",
                "--net" when value.Contains("mac=", StringComparison.Ordinal) => "two machines would have the same address",
                "--disk" when !value.Contains(",readonly", StringComparison.Ordinal) && !value.Contains(",ephemeral", StringComparison.Ordinal) =>
                    "one machine only may write to a disk; add ,ephemeral or ,readonly",
                _ => null,
            };
            if (why is not null)
            {
                throw new UsageException($"{name} {value}: {why}; {{#}} in it is the number of the run, {{/}} the item's last part");
            }
        }
    }
}

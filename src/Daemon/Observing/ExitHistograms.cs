using System.Globalization;
using System.Text;
using Vmm.Control;

namespace Vmm.Daemon.Observing;

/// <summary>How long exits kept their vCPUs out of the guest, by reason and device, in Prometheus' text format (version 0.0.4). Only of
/// machines that were started with <c>--profile</c>.</summary>
internal static class ExitHistograms
{
    private const string Name = "vmm_machine_exit_duration_seconds";

    private static readonly string[] Bounds =
    [
        .. Enumerable.Range(0, ((ExitFigures.MostPower - ExitFigures.LeastPower) / ExitFigures.PowerStep) + 1)
            .Select(static i => Text((1L << (ExitFigures.LeastPower + (i * ExitFigures.PowerStep))) / 1e9)),
    ];

    /// <returns>Empty where no machine times its exits.</returns>
    public static string Format(IEnumerable<(string Machine, ControlStatistics Use)> machines)
    {
        var text = new StringBuilder();
        foreach ((string machine, ControlStatistics use) in machines)
        {
            foreach (ExitFigures exits in use.ExitsByDevice ?? [])
            {
                if (text.Length == 0)
                {
                    text.Append("# HELP ").Append(Name).Append(" Time in user space for each exit of a guest, by reason and device\n");
                    text.Append("# TYPE ").Append(Name).Append(" histogram\n");
                }

                Add(text, machine, exits);
            }
        }

        return text.ToString();
    }

    private static void Add(StringBuilder text, string machine, ExitFigures exits)
    {
        // What answered need not be a machine of this vmm's.
        if (exits.Below.Count != Bounds.Length)
        {
            return;
        }

        string labels = $"machine=\"{Escape(machine)}\",reason=\"{Escape(exits.Reason)}\",device=\"{Escape(exits.Device)}\"";
        long before = 0;
        for (int i = 0; i < Bounds.Length; i++)
        {
            before = Math.Clamp(exits.Below[i], before, Math.Max(before, exits.Count));
            Line(text, "_bucket", $"{labels},le=\"{Bounds[i]}\"", before.ToString(CultureInfo.InvariantCulture));
        }

        string count = Math.Max(before, exits.Count).ToString(CultureInfo.InvariantCulture);
        Line(text, "_bucket", $"{labels},le=\"+Inf\"", count);
        Line(text, "_sum", labels, Text(Math.Max(0, exits.Time)));
        Line(text, "_count", labels, count);
    }

    private static void Line(StringBuilder text, string suffix, string labels, string value) =>
        text.Append(Name).Append(suffix).Append('{').Append(labels).Append("} ").Append(value).Append('\n');

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private static string Escape(string label) =>
        label.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
}

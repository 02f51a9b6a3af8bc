using System.Globalization;
using System.Text;
using Vmm.Assist;

namespace Vmm.Insight.Profile;

/// <summary>A profile as folded stacks, one <c>frame;frame;frame nanoseconds</c> a line: what flamegraph.pl, inferno and
/// speedscope read.</summary>
internal static class FoldedStacks
{
    public static string Format(ExitProfile profile)
    {
        var text = new StringBuilder();
        foreach (ExitRow line in profile.Lines)
        {
            Line(text, "vmm", line.Name, line.InVmm.Sum);
        }

        foreach (ExitRow line in profile.Lines)
        {
            Line(text, "KVM_RUN", line.Name, line.InKvm.Sum);
        }

        return text.ToString();
    }

    private static void Line(StringBuilder text, string where, ExitName name, long nanoseconds)
    {
        if (nanoseconds == 0)
        {
            return;
        }

        text.Append(where);
        foreach (string frame in (string[])[name.Reason, name.Device, name.What, name.Access])
        {
            if (frame.Length != 0)
            {
                // The semicolon parts frames, and the last space the number.
                text.Append(';').Append(frame.Replace(';', ',').Replace('\n', ' '));
            }
        }

        text.Append(CultureInfo.InvariantCulture, $" {nanoseconds}\n");
    }
}

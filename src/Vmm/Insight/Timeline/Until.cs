using System.Text;
using Vmm.Host;

namespace Vmm.Insight.Timeline;

/// <summary>The console text after which the machine is ended (--until).</summary>
internal sealed class Until
{
    private readonly byte[]? _text;

    private Until(string name, byte[]? text) => (Name, _text) = (name, text);

    /// <summary>As the user gave it.</summary>
    public string Name { get; }

    /// <param name="text"><c>init</c> and <c>shell</c> are milestones; anything else is text to find on the console.</param>
    public static Until Parse(string text) => text.Length == 0
        ? throw new UsageException("--until: give init, shell, or a text to wait for")
        : new Until(text, text is Milestones.Init or Milestones.Shell ? null : Encoding.UTF8.GetBytes(text));

    /// <param name="line">What the guest has sent of this line so far.</param>
    /// <param name="isWhole">Is this its end?</param>
    public bool IsReached(ReadOnlySpan<byte> line, bool isWhole) => Name switch
    {
        Milestones.Init => isWhole && Milestones.IsInit(Encoding.UTF8.GetString(line)),
        Milestones.Shell => !isWhole && Milestones.IsPrompt(line),
        _ => line.EndsWith(_text),
    };
}

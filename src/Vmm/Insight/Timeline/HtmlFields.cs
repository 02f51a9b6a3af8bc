using System.Collections;

namespace Vmm.Insight.Timeline;

/// <summary>The fields of a <see cref="HtmlTemplate"/>: texts, and lists of further fields.</summary>
internal sealed class HtmlFields : IEnumerable
{
    private readonly Dictionary<string, string> _texts = new(StringComparer.Ordinal);
    private readonly Dictionary<string, IEnumerable<HtmlFields>> _lists = new(StringComparer.Ordinal);

    /// <param name="text">Plain text: the template escapes it.</param>
    public void Add(string name, string text) => _texts.Add(name, text);

    /// <param name="list">Gone through once for each place that shows it.</param>
    public void Add(string name, IEnumerable<HtmlFields> list) => _lists.Add(name, list);

    /// <summary>A part of the page that is shown with these fields, or not at all.</summary>
    public void Add(string name, HtmlFields? part) => _lists.Add(name, part is null ? [] : [part]);

    public string Text(string name) => _texts[name];

    public IEnumerable<HtmlFields> List(string name) => _lists[name];

    IEnumerator IEnumerable.GetEnumerator() => _texts.Keys.Concat(_lists.Keys).GetEnumerator();
}

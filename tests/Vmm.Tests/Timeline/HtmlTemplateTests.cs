using Vmm.Insight.Timeline;

namespace Vmm.Tests.Timeline;

public sealed class HtmlTemplateTests
{
    [Fact]
    public void Texts_are_escaped_and_never_read_as_tags()
    {
        var fields = new HtmlFields { { "a", "<b> {{b}} {{#c}}" }, { "b", "no" } };
        Assert.Equal("x &lt;b&gt; {{b}} {{#c}} y", new HtmlTemplate("x {{a}} y").Fill(fields));
    }

    [Fact]
    public void A_list_is_written_once_for_each_element_and_its_tags_take_no_line()
    {
        var template = new HtmlTemplate("<ul>\n{{#rows}}\n<li>{{name}}{{#marks}}<i>{{mark}}</i>{{/marks}}</li>\n{{/rows}}\n</ul>\n");
        HtmlFields[] marks = [new() { { "mark", "1" } }, new() { { "mark", "2" } }];
        HtmlFields[] rows = [new() { { "name", "a" }, { "marks", marks } }, new() { { "name", "b" }, { "marks", (HtmlFields?)null } }];
        Assert.Equal("<ul>\n<li>a<i>1</i><i>2</i></li>\n<li>b</li>\n</ul>\n", template.Fill(new HtmlFields { { "rows", rows } }));
        Assert.Equal("<ul>\n</ul>\n", template.Fill(new HtmlFields { { "rows", Array.Empty<HtmlFields>() } }));
    }

    [Fact]
    public void A_field_that_is_not_there_and_a_tag_without_an_end_are_errors()
    {
        Assert.Throws<KeyNotFoundException>(() => new HtmlTemplate("{{nme}}").Fill(new HtmlFields { { "name", "" } }));
        Assert.Throws<KeyNotFoundException>(() => new HtmlTemplate("{{#nme}}{{/nme}}").Fill(new HtmlFields { { "name", "" } }));
        Assert.Throws<FormatException>(() => new HtmlTemplate("{{#a}}").Fill(new HtmlFields { { "a", new HtmlFields() } }));
        Assert.Throws<FormatException>(() => new HtmlTemplate("{{a").Fill(new HtmlFields()));
    }
}
